// Stands for cyclonus' worker in the pods of the live cases: it tries a batch of connections and prints what came of each.
//
// cyclonus' own runs a process for every connection, which takes minutes for what takes a second this way.
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
	// patience is how long a packet may take, as with cyclonus' own worker.
	patience = time.Second
	// lookup is how long a name may take: a question that was lost is asked again after five seconds.
	lookup = 12 * time.Second
)

// Ports that UDP is sent from: below those that the kernel gives, and others for every second's batch, as the network
// remembers a pair of ports for two minutes and takes what it sees then for a part of an earlier exchange.
const (
	firstPort  = 1024
	lastPort   = 32767
	ofOneBatch = 100
)

// portOf is the port that the request of this number is sent from; it comes again after five minutes.
func portOf(number int) int {
	batches := int64((lastPort - firstPort) / ofOneBatch)
	return firstPort + int(time.Now().Unix()%batches)*ofOneBatch + number%ofOneBatch
}

// addresses looks up every name of a batch once, so that a slow answer is not taken for a denied packet.
func addresses(requests []*worker.Request) map[string]string {
	ctx, cancel := context.WithTimeout(context.Background(), lookup)
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
				// A whole name, so that it is not looked up in every search domain first.
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

// connect is done when there is an answer: a connection with TCP, anything at all with UDP.
func connect(request *worker.Request, number int, host string) error {
	if host == "" {
		return fmt.Errorf("the address of %s was not found", request.Host)
	}
	dialer := net.Dialer{Timeout: patience}
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
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
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
		return errors.New("there is nothing to do: --jobs takes cyclonus' batch of requests")
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
	jobs := flag.String("jobs", "", "what to do: cyclonus' batch, in JSON")
	flag.Parse()
	if err := run(*jobs); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(2)
	}
}
