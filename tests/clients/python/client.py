"""A client of an API as the Azure SDK makes it: for each line that comes in, a GET of URL with a token for SCOPE.

    client.py URL SCOPE [--not-capable]

Challenges are the pipeline's own affair: this only says how each call ended, in one line.
Who it is stands in the environment, under the SDK's usual names; AZURE_AUTHORITY_HOST the credential reads itself.
"""

import os
import sys

from azure.core import PipelineClient
from azure.core.exceptions import AzureError
from azure.core.pipeline.policies import BearerTokenCredentialPolicy
from azure.core.rest import HttpRequest
from azure.identity import ClientSecretCredential

url, scope, *options = sys.argv[1:]
credential = ClientSecretCredential(
    os.environ["AZURE_TENANT_ID"],
    os.environ["AZURE_CLIENT_ID"],
    os.environ["AZURE_CLIENT_SECRET"],
    disable_instance_discovery=True,
)
policy = BearerTokenCredentialPolicy(credential, scope, enable_cae="--not-capable" not in options)
with PipelineClient(url, per_retry_policies=[policy]) as client:
    for _ in sys.stdin:
        try:
            response = client.send_request(HttpRequest("GET", url))
            said = f"{response.status_code} {response.text()}"
        except AzureError as error:
            said = f"error {error}"
        print(" ".join(said.split()), flush=True)
