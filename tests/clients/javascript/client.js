// A client of an API as the Azure SDK makes it: for each line that comes in, a GET of URL with a token for SCOPE.
//
//     node client.js URL SCOPE
//
// Challenges are the pipeline's own affair: this only says how each call ended, in one line.
// Who it is stands in the environment, under the SDK's usual names; AZURE_AUTHORITY_HOST the credential reads itself.

import { createInterface } from "node:readline";

import {
  bearerTokenAuthenticationPolicy,
  createDefaultHttpClient,
  createPipelineFromOptions,
  createPipelineRequest,
} from "@azure/core-rest-pipeline";
import { ClientSecretCredential } from "@azure/identity";

const [url, scope] = process.argv.slice(2);
const { AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET } = process.env;
const credential = new ClientSecretCredential(AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, {
  disableInstanceDiscovery: true,
});
const client = createDefaultHttpClient();
const pipeline = createPipelineFromOptions({});
pipeline.addPolicy(bearerTokenAuthenticationPolicy({ credential, scopes: scope }), { phase: "Sign" });

for await (const _ of createInterface({ input: process.stdin })) {
  let said;
  try {
    const response = await pipeline.sendRequest(client, createPipelineRequest({ url }));
    said = `${response.status} ${response.bodyAsText}`;
  } catch (error) {
    said = `error ${error}`;
  }
  console.log(said.replace(/\s+/g, " "));
}
