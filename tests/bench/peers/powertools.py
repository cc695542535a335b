"""AWS Lambda Powertools for Python: what a team would deploy otherwise, a function that does its work once a key.

It is given the trigger that Oncekey is given."""

import json

import boto3
from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent

store = DynamoDBPersistenceLayer(table_name="powertools", boto3_client=boto3.client("dynamodb"))
config = IdempotencyConfig(event_key_jmespath="powertools_json(body).options.idempotencyKey")


@idempotent(persistence_store=store, config=config)
def handler(event, context):
    order = json.loads(event["body"])["payload"]
    return {"statusCode": 200, "body": json.dumps({"done": order["n"]})}
