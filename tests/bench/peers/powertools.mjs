// AWS Lambda Powertools for TypeScript: as powertools.py.

import { IdempotencyConfig, makeIdempotent } from "@aws-lambda-powertools/idempotency";
import { DynamoDBPersistenceLayer } from "@aws-lambda-powertools/idempotency/dynamodb";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";

const persistenceStore = new DynamoDBPersistenceLayer({ tableName: "powertools", awsSdkV3Client: new DynamoDBClient() });
const config = new IdempotencyConfig({ eventKeyJmesPath: "powertools_json(body).options.idempotencyKey" });

async function once(event) {
  const order = JSON.parse(event.body).payload;
  return { statusCode: 200, body: JSON.stringify({ done: order.n }) };
}

export const handler = makeIdempotent(once, { persistenceStore, config });
