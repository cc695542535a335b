"""AWS Lambda Powertools for Python: an idempotent function on the DynamoDB at ENDPOINT. Prints one JSON object: CPU and
wall time of a unique and of a duplicate call, DynamoDB calls and units of each, start-up, memory.

`powertools.py start` only gets ready to handle a call, and says how long that took and how much memory it takes."""

import json
import os
import resource
import sys
import time

os.environ.update(POWERTOOLS_TRACE_DISABLED="1", AWS_DEFAULT_REGION="us-east-1", AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x")

import boto3
from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function
from botocore.config import Config
from botocore.exceptions import ClientError

CALLS = 2_000

dynamodb = boto3.client("dynamodb", endpoint_url=os.environ["ENDPOINT"], config=Config(retries={"max_attempts": 1}))
store = DynamoDBPersistenceLayer(table_name="powertools-python", boto3_client=dynamodb)


class Context:
    function_name = "bench"

    @staticmethod
    def get_remaining_time_in_millis():
        return 30_000


config = IdempotencyConfig(lambda_context=Context())


@idempotent_function(data_keyword_argument="order", persistence_store=store, config=config)
def process(order):
    return {"done": order["n"]}


def memory_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if sys.argv[1:] == ["start"]:
    print(json.dumps({"memory_mb": memory_mb()}))
    sys.exit()

try:
    dynamodb.create_table(
        TableName="powertools-python",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
except ClientError as error:
    if error.response["Error"]["Code"] != "ResourceInUseException":
        raise

counted = {"calls": 0, "units": 0.0}


def ask(params, **_):
    params["ReturnConsumedCapacity"] = "TOTAL"


def count(parsed, **_):
    counted["calls"] += 1
    # A refused write reports nothing, and costs a unit.
    counted["units"] += parsed.get("ConsumedCapacity", {}).get("CapacityUnits", 1.0)


def measure(key):
    """Means over CALLS calls whose key is `key(n)`."""
    cpu, wall = time.process_time(), time.perf_counter()
    for n in range(CALLS):
        process(order={"n": key(n), "of": os.getpid()})
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu_ms": cpu * 1e3 / CALLS, "wall_ms": wall * 1e3 / CALLS}


def units(key):
    counted.update(calls=0, units=0.0)
    for n in range(100):
        process(order={"n": key(n), "of": os.getpid()})
    return {name: total / 100 for name, total in counted.items()}


measure(lambda n: f"warm-{n}")
unique = measure(lambda n: f"unique-{n}")
duplicate = measure(lambda n: f"unique-{n % 100}")
# The layer makes a client of its own kind of the one that it is given.
events = store.client.meta.events
for operation in ("PutItem", "GetItem", "UpdateItem", "DeleteItem"):
    events.register(f"provide-client-params.dynamodb.{operation}", ask)
    events.register(f"after-call.dynamodb.{operation}", count)
unique |= units(lambda n: f"units-{n}")
duplicate |= units(lambda n: f"units-{n}")
print(json.dumps({"unique": unique, "duplicate": duplicate, "memory_mb": memory_mb()}))
