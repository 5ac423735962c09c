"""Calls test.Echo/WhoAreYou through gRPC C-core's xds resolver as lines of JSON on stdin say; answers in lines of JSON.

The protocol is described in ../support/foreign-client.ts.
"""

import json
import sys
import threading
import time

import grpc
import grpc.experimental

channels = {}
channels_lock = threading.Lock()
output_lock = threading.Lock()


def method(target):
    with channels_lock:
        if target not in channels:
            fallback = grpc.experimental.insecure_channel_credentials()
            channels[target] = grpc.secure_channel(target, grpc.xds_channel_credentials(fallback))
        return channels[target].unary_unary("/test.Echo/WhoAreYou")


def count(result, call):
    code = call.code().value[0]
    result["codes"][str(code)] = result["codes"].get(str(code), 0) + 1
    if code == 0:
        answer = call.result().decode()
        result["answers"][answer] = result["answers"].get(answer, 0) + 1
    elif len(result["errors"]) < 5:
        result["errors"].append(f"{call.code()}: {call.details()}")


def run(order):
    result = {"id": order["id"], "answers": {}, "codes": {}, "errors": []}
    who_are_you = method(order["target"])
    metadata = tuple(order["metadata"].items())
    begin = time.monotonic()
    calls = []
    done = 0
    while done < order["count"] or time.monotonic() - begin < order["durationMs"] / 1000:
        call = who_are_you.future(b"", timeout=order["deadlineMs"] / 1000, metadata=metadata)
        done += 1
        if order["concurrent"]:
            calls.append(call)
        else:
            count(result, call)
        time.sleep(order["spacingMs"] / 1000)
    for call in calls:
        count(result, call)
    result["ms"] = round((time.monotonic() - begin) * 1000)
    with output_lock:
        print(json.dumps(result), flush=True)


for line in sys.stdin:
    threading.Thread(target=run, args=(json.loads(line),), daemon=True).start()
