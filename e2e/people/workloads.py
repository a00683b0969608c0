"""Libraries with which workloads get their tokens, driven by workloads.test.mjs: `workloads.py MODE`.

Prints one JSON object.
"""

import json
import os
import sys
import tempfile
from concurrent import futures

AUDIENCE = os.environ["AUDIENCE"]


def ambient():
    """The token of the CI job in which this runs."""
    import id

    return {"token": id.detect_credential(AUDIENCE)}


def aws():
    """The token of the role that this has."""
    import boto3

    algorithm = os.environ["ALGORITHM"]
    answer = boto3.client("sts").get_web_identity_token(Audience=[AUDIENCE], SigningAlgorithm=algorithm, DurationSeconds=120)
    return {"token": answer["WebIdentityToken"]}


def google():
    """The token of the service account of this machine."""
    from google.auth.transport.requests import Request
    from google.oauth2 import id_token

    return {"token": id_token.fetch_id_token(Request(), AUDIENCE)}


def azure():
    """The token of the managed identity of this app."""
    from azure.identity import ManagedIdentityCredential

    return {"token": ManagedIdentityCredential().get_token(f"{AUDIENCE}/.default").token}


def workload_api(socket, svids, bundle):
    """Starts the Workload API that an agent of SPIFFE serves."""
    import grpc
    from spiffe._proto import workload_pb2, workload_pb2_grpc

    class Agent(workload_pb2_grpc.SpiffeWorkloadAPIServicer):
        def FetchJWTSVID(self, request, context):
            assert dict(context.invocation_metadata())["workload.spiffe.io"] == "true"
            assert list(request.audience) == [AUDIENCE]
            return workload_pb2.JWTSVIDResponse(svids=[workload_pb2.JWTSVID(**one) for one in svids])

        def FetchJWTBundles(self, request, context):
            yield workload_pb2.JWTBundlesResponse(bundles={"spiffe://example.org": json.dumps(bundle).encode()})

    server = grpc.server(futures.ThreadPoolExecutor(2))
    workload_pb2_grpc.add_SpiffeWorkloadAPIServicer_to_server(Agent(), server)
    server.add_insecure_port(socket)
    server.start()
    return server


def spiffe():
    """A JWT-SVID from the Workload API, verified with the bundle of its trust domain."""
    from spiffe import JwtSvid, TrustDomain, WorkloadApiClient

    with tempfile.TemporaryDirectory() as folder:
        socket = f"unix:{folder}/agent.sock"
        svid = {"spiffe_id": os.environ["SPIFFE_ID"], "svid": os.environ["SVID"]}
        server = workload_api(socket, [svid], json.loads(os.environ["BUNDLE"]))
        with WorkloadApiClient(socket) as client:
            fetched = client.fetch_jwt_svid(audience={AUDIENCE})
            bundle = client.fetch_jwt_bundles().get_bundle_for_trust_domain(TrustDomain("example.org"))
            valid = JwtSvid.parse_and_validate(fetched.token, bundle, {AUDIENCE})
        server.stop(None).wait()
    return {"token": valid.token, "id": str(valid.spiffe_id), "audience": sorted(valid.audience)}


print(json.dumps({"ambient": ambient, "aws": aws, "azure": azure, "google": google, "spiffe": spiffe}[sys.argv[1]]()))
