// Runs cyclonus' conformance cases against the cluster of KUBECONFIG, like `cyclonus generate`, but one process
// (worker/) tries all connections of a pod, so that a case takes seconds.
//
// It ignores traffic of a pod to itself: cyclonus expects it to be denied, but Kubernetes always allows it.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/mattfenwick/cyclonus/pkg/connectivity"
	"github.com/mattfenwick/cyclonus/pkg/connectivity/probe"
	"github.com/mattfenwick/cyclonus/pkg/generator"
	"github.com/mattfenwick/cyclonus/pkg/kube"
	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
)

var (
	namespaces = []string{"x", "y", "z"}
	podNames   = []string{"a", "b", "c"}
	ports      = []int{80, 81}
)

// image contains agnhost, the pods' server, and worker/ (dev/image).
const image = "vaultwall.local/cyclonus:dev"

// podTimeout is the time in seconds in which the pods must be ready.
const podTimeout = 120

// deleteTimeout is the time in which the namespaces must be deleted.
const deleteTimeout = 2 * time.Minute

// cluster is cyclonus' client with an image of our own, without a rate limit, and with a retry after a write conflict.
type cluster struct{ *kube.Kubernetes }

func connect() (*cluster, error) {
	client, err := kube.NewKubernetesForContext("")
	if err != nil {
		return nil, err
	}
	client.RestConfig.QPS = -1
	client.ClientSet, err = kubernetes.NewForConfig(client.RestConfig)
	return &cluster{client}, err
}

func (c *cluster) CreatePod(pod *v1.Pod) (*v1.Pod, error) {
	for index := range pod.Spec.Containers {
		pod.Spec.Containers[index].Image = image
		pod.Spec.Containers[index].ImagePullPolicy = v1.PullNever
	}
	return c.Kubernetes.CreatePod(pod)
}

func (c *cluster) SetPodLabels(namespace, name string, labels map[string]string) (pod *v1.Pod, err error) {
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		pod, err = c.Kubernetes.SetPodLabels(namespace, name, labels)
		return err
	})
	return pod, err
}

func (c *cluster) SetNamespaceLabels(name string, labels map[string]string) (namespace *v1.Namespace, err error) {
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		namespace, err = c.Kubernetes.SetNamespaceLabels(name, labels)
		return err
	})
	return namespace, err
}

// cleanUp deletes the namespaces of the cases, and waits until they are deleted.
func (c *cluster) cleanUp() error {
	for _, namespace := range namespaces {
		if err := c.DeleteNamespace(namespace); err != nil && !apierrors.IsNotFound(errors.Cause(err)) {
			return err
		}
	}
	end := time.Now().Add(deleteTimeout)
	for _, namespace := range namespaces {
		for {
			_, err := c.GetNamespace(namespace)
			if apierrors.IsNotFound(errors.Cause(err)) {
				break
			}
			if time.Now().After(end) {
				return fmt.Errorf("namespace %s is not deleted after %s", namespace, deleteTimeout)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	return nil
}

// protocols includes SCTP only on request: few kernels have it.
func protocols(withSCTP bool) []v1.Protocol {
	if withSCTP {
		return []v1.Protocol{v1.ProtocolTCP, v1.ProtocolUDP, v1.ProtocolSCTP}
	}
	return []v1.Protocol{v1.ProtocolTCP, v1.ProtocolUDP}
}

// counts has the results of connections between different pods in their last try.
type counts struct{ right, denied, lost, leaked int }

// add counts the results of a case, and reports whether all were as expected. cyclonus repeats a step with an
// unexpected result, because a busy machine may lose a packet. A packet that passed although it is denied counts in
// every try.
func (c *counts) add(result *connectivity.Result) bool {
	before := c.lost + c.leaked
	for _, step := range result.Steps {
		for try, seen := range step.KubeProbes {
			for _, key := range seen.Wrapped.Keys() {
				if key.From == key.To {
					continue
				}
				expected := step.SimulatedProbe.Get(key.From, key.To).JobResults
				for name, job := range seen.Get(key.From, key.To).JobResults {
					c.count(expected[name].Combined, job.Combined, try == len(step.KubeProbes)-1)
				}
			}
		}
	}
	return c.lost+c.leaked == before
}

func (c *counts) count(expected, seen probe.Connectivity, isLast bool) {
	if isLast && expected == probe.ConnectivityBlocked {
		c.denied++
	}
	switch {
	case expected == probe.ConnectivityBlocked && seen == probe.ConnectivityAllowed:
		c.leaked++
	case !isLast:
	case expected == seen:
		c.right++
	default:
		c.lost++
	}
}

func run(include []string, withSCTP bool) (ok bool, err error) {
	if err := generator.ValidateTags(include); err != nil {
		return false, fmt.Errorf("%w; choose from: %s", err, strings.Join(generator.TagSlice, " "))
	}
	kubernetes, err := connect()
	if err != nil {
		return false, err
	}
	// An earlier run may have ended without cleaning up.
	if err := kubernetes.cleanUp(); err != nil {
		return false, err
	}
	defer func() {
		if left := kubernetes.cleanUp(); err == nil {
			err = left
		}
	}()
	resources, err := probe.NewDefaultResources(
		kubernetes, namespaces, podNames, ports, protocols(withSCTP), nil, podTimeout, true, "")
	if err != nil {
		return false, fmt.Errorf("%w: is the image %s on the nodes?", err, image)
	}
	interpreter := connectivity.NewInterpreter(kubernetes, resources, &connectivity.InterpreterConfig{
		ResetClusterBeforeTestCase:       true,
		VerifyClusterStateBeforeTestCase: true,
		KubeProbeRetries:                 3,
		PerturbationWaitSeconds:          1,
		BatchJobs:                        true,
		IgnoreLoopback:                   true,
	})
	last, err := resources.GetPod("z", "c")
	if err != nil {
		return false, err
	}
	cases := generator.NewTestCaseGenerator(true, last.IP, namespaces, include, nil).GenerateTestCases()
	printer := &connectivity.Printer{IgnoreLoopback: true}
	passed, steps, seen, started := 0, 0, counts{}, time.Now()
	for number, testCase := range cases {
		result := interpreter.ExecuteTestCase(testCase)
		if result.Err != nil {
			return false, fmt.Errorf("case %d, %s: %w", number+1, testCase.Description, result.Err)
		}
		steps += len(result.Steps)
		verdict := "passed"
		if seen.add(result) {
			passed++
		} else {
			verdict = "FAILED"
			printer.PrintTestCaseResult(result)
		}
		fmt.Printf("%s %d of %d, after %.0f s: %s\n",
			verdict, number+1, len(cases), time.Since(started).Seconds(), testCase.Description)
	}
	fmt.Printf("cyclonus, live: %d of %d cases (%d steps), %d connections as expected, of which %d denied; "+
		"%d lost, %d passed although denied\n",
		passed, len(cases), steps, seen.right, seen.denied, seen.lost, seen.leaked)
	return len(cases) > 0 && passed == len(cases), nil
}

func main() {
	include := flag.String("include", "", "only cases with one of these `tags`, with commas between; all if empty")
	withSCTP := flag.Bool("sctp", false, "with SCTP, if the nodes' kernels have it")
	flag.Parse()
	logrus.SetLevel(logrus.WarnLevel)
	var tags []string
	if *include != "" {
		tags = strings.Split(*include, ",")
	}
	ok, err := run(tags, *withSCTP)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cyclonus-live:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}
