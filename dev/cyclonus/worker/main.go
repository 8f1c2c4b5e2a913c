// Replaces cyclonus' worker in the pods of the live cases: it tries a batch of connections and prints the result of
// each.
//
// cyclonus' own worker starts a process for every connection, and needs minutes for a batch; this one needs a second.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mattfenwick/cyclonus/pkg/worker"
	v1 "k8s.io/api/core/v1"
)

const (
	// timeout for a packet, the same as in cyclonus' own worker.
	timeout = time.Second
	// lookupTimeout for a DNS name: the resolver repeats a lost query after five seconds.
	lookupTimeout = 12 * time.Second
)

// Source ports for UDP: below the kernel's ephemeral ports, and different for the batches of different seconds, because
// connection tracking remembers a pair of ports for two minutes and treats its packets as part of the earlier exchange.
const (
	firstPort = 1024
	lastPort  = 32767
	batchSize = 100
)

// portOf returns the source port for a request's index in its batch; ports repeat after five minutes.
func portOf(number int) int {
	batches := int64((lastPort - firstPort) / batchSize)
	return firstPort + int(time.Now().Unix()%batches)*batchSize + number%batchSize
}

// addresses resolves every name of a batch once, so that a slow DNS answer does not count as a denied packet.
func addresses(requests []*worker.Request) map[string]string {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	var (
		found   = map[string]string{}
		lock    sync.Mutex
		waiting sync.WaitGroup
	)
	hosts := map[string]bool{}
	for _, request := range requests {
		hosts[request.Host] = true
	}
	for host := range hosts {
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			name := host
			if net.ParseIP(host) == nil {
				// A fully qualified name, so that search domains are not tried first.
				name += "."
			}
			answer, err := net.DefaultResolver.LookupHost(ctx, name)
			if err == nil {
				lock.Lock()
				defer lock.Unlock()
				found[host] = answer[0]
			}
		}()
	}
	waiting.Wait()
	return found
}

// connect succeeds on any answer: a connection with TCP, a packet with UDP.
func connect(request *worker.Request, number int, host string) error {
	if host == "" {
		return fmt.Errorf("the address of %s was not found", request.Host)
	}
	dialer := net.Dialer{Timeout: timeout}
	if request.Protocol == v1.ProtocolUDP {
		dialer.LocalAddr = &net.UDPAddr{Port: portOf(number)}
	}
	address := net.JoinHostPort(host, strconv.Itoa(request.Port))
	connection, err := dialer.Dial(strings.ToLower(string(request.Protocol)), address)
	if err != nil {
		return err
	}
	defer connection.Close()
	if request.Protocol == v1.ProtocolTCP {
		return nil
	}
	if err := connection.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if _, err := connection.Write([]byte("hostname")); err != nil {
		return err
	}
	_, err = connection.Read(make([]byte, 1024))
	return err
}

func try(request *worker.Request, number int, host string) *worker.Result {
	result := &worker.Result{Request: request}
	if err := connect(request, number, host); err != nil {
		result.Error = err.Error()
	}
	return result
}

func run(jobs string) error {
	var batch worker.Batch
	if err := json.Unmarshal([]byte(jobs), &batch); err != nil {
		return err
	}
	if err := batch.IsValid(); err != nil {
		return err
	}
	if len(batch.Requests) == 0 {
		return errors.New("no requests: --jobs takes cyclonus' batch of requests in JSON")
	}
	found := addresses(batch.Requests)
	results := make([]*worker.Result, len(batch.Requests))
	var waiting sync.WaitGroup
	for index, request := range batch.Requests {
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			results[index] = try(request, index, found[request.Host])
		}()
	}
	waiting.Wait()
	return json.NewEncoder(os.Stdout).Encode(results)
}

func main() {
	jobs := flag.String("jobs", "", "cyclonus' batch of requests, in JSON")
	flag.Parse()
	if err := run(*jobs); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(2)
	}
}
