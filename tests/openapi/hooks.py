"""How Schemathesis writes a list as lines of JSON."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines_of_json(ctx, value):
    if not isinstance(value, list):
        return json.dumps(value).encode()
    return b"".join(json.dumps(item).encode() + b"\n" for item in value)
