// AWS Lambda Powertools for TypeScript: as powertools.py.

import { DynamoDBPersistenceLayer } from "@aws-lambda-powertools/idempotency/dynamodb";
import { IdempotencyConfig, makeIdempotent } from "@aws-lambda-powertools/idempotency";
import { CreateTableCommand, DynamoDBClient } from "@aws-sdk/client-dynamodb";

const CALLS = 2_000;
const client = new DynamoDBClient({
  endpoint: process.env.ENDPOINT,
  region: "us-east-1",
  credentials: { accessKeyId: "x", secretAccessKey: "x" },
});
const store = new DynamoDBPersistenceLayer({ tableName: "powertools-typescript", awsSdkV3Client: client });
const config = new IdempotencyConfig({});
config.registerLambdaContext({ getRemainingTimeInMillis: () => 30_000, functionName: "bench" });
const process_ = makeIdempotent(async (order) => ({ done: order.n }), { persistenceStore: store, config });
const memory = () => process.resourceUsage().maxRSS / 1024;

if (process.argv[2] === "start") {
  console.log(JSON.stringify({ memory_mb: memory() }));
  process.exit();
}

await client
  .send(
    new CreateTableCommand({
      TableName: "powertools-typescript",
      KeySchema: [{ AttributeName: "id", KeyType: "HASH" }],
      AttributeDefinitions: [{ AttributeName: "id", AttributeType: "S" }],
      BillingMode: "PAY_PER_REQUEST",
    }),
  )
  .catch((error) => {
    if (error.name !== "ResourceInUseException") throw error;
  });

async function measure(key) {
  const cpu = process.cpuUsage();
  const wall = performance.now();
  for (let n = 0; n < CALLS; n += 1) await process_({ n: key(n), of: process.pid });
  const { user, system } = process.cpuUsage(cpu);
  return { cpu_ms: (user + system) / 1e3 / CALLS, wall_ms: (performance.now() - wall) / CALLS };
}

const counted = { calls: 0, units: 0 };
function count() {
  client.middlewareStack.add(
    (next) => async (asked) => {
      counted.calls += 1;
      try {
        const answer = await next({ ...asked, input: { ...asked.input, ReturnConsumedCapacity: "TOTAL" } });
        counted.units += answer.output.ConsumedCapacity?.CapacityUnits ?? 1;
        return answer;
      } catch (error) {
        // A refused write costs a unit.
        counted.units += 1;
        throw error;
      }
    },
    { step: "initialize" },
  );
}

async function units(key) {
  Object.assign(counted, { calls: 0, units: 0 });
  for (let n = 0; n < 100; n += 1) await process_({ n: key(n), of: process.pid });
  return { calls: counted.calls / 100, units: counted.units / 100 };
}

await measure((n) => `warm-${n}`);
const unique = await measure((n) => `unique-${n}`);
const duplicate = await measure((n) => `unique-${n % 100}`);
count();
Object.assign(unique, await units((n) => `units-${n}`));
Object.assign(duplicate, await units((n) => `units-${n}`));
console.log(JSON.stringify({ unique, duplicate, memory_mb: memory() }));
