"""Serves test.Echo/WhoAreYou by gRPC C-core's xDS server on the port in argv[1]: the answer is who asks.

Says "serving" when it listens. The protocol is described in ../support/foreign-server.ts.
"""

import sys
from concurrent import futures

import grpc


def who_are_you(_request, context):
    names = context.auth_context().get("x509_subject_alternative_name", [])
    return next((name for name in names if name.startswith(b"spiffe:")), b"nobody")


handler = grpc.unary_unary_rpc_method_handler(who_are_you)
server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), xds=True)
server.add_generic_rpc_handlers(
    [grpc.method_handlers_generic_handler("test.Echo", {"WhoAreYou": handler, "Other": handler})]
)
fallback = grpc.insecure_server_credentials()
server.add_secure_port(f"127.0.0.1:{sys.argv[1]}", grpc.xds_server_credentials(fallback))
server.start()
print("serving", flush=True)
server.wait_for_termination()
