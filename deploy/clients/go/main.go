// An API that asks caed about each request: api PORT CAED, with CAED as 127.0.0.1:7431 or unix:PATH.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
)

func main() {
	access, err := NewAccess(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	report := http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) { fmt.Fprintln(answer, "the report") })
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], access.Guard(report)))
}
