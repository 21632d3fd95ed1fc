// A client of an API as the Azure SDK makes it: for each line that comes in, a GET of URL with a token for SCOPE.
//
//	client URL SCOPE
//
// Challenges are the pipeline's own affair: this only says how each call ended, in one line.
// Who it is stands in the environment, under the SDK's usual names; AZURE_AUTHORITY_HOST the credential reads itself.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

func main() {
	url, scope := os.Args[1], os.Args[2]
	credential, err := azidentity.NewClientSecretCredential(
		os.Getenv("AZURE_TENANT_ID"), os.Getenv("AZURE_CLIENT_ID"), os.Getenv("AZURE_CLIENT_SECRET"),
		&azidentity.ClientSecretCredentialOptions{DisableInstanceDiscovery: true})
	if err != nil {
		log.Fatal(err)
	}
	authentication := runtime.NewBearerTokenPolicy(credential, []string{scope}, nil)
	pipeline := runtime.NewPipeline("client", "1", runtime.PipelineOptions{PerRetry: []policy.Policy{authentication}}, nil)

	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		said, err := get(pipeline, url)
		if err != nil {
			said = "error " + err.Error()
		}
		fmt.Println(strings.Join(strings.Fields(said), " "))
	}
}

func get(pipeline runtime.Pipeline, url string) (string, error) {
	request, err := runtime.NewRequest(context.Background(), http.MethodGet, url)
	if err != nil {
		return "", err
	}
	response, err := pipeline.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return fmt.Sprint(response.StatusCode, " ", string(body)), err
}
