// Prints cyclonus' own conformance cases and the results that its engine expects: one JSON object a line for each step.
//
// It needs no cluster: it uses cyclonus' mock of Kubernetes. Unlike in that mock, the pods' addresses are not
// consecutive, so that the address blocks of the cases contain some pods and exclude others.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/mattfenwick/cyclonus/pkg/connectivity"
	"github.com/mattfenwick/cyclonus/pkg/connectivity/probe"
	"github.com/mattfenwick/cyclonus/pkg/generator"
	"github.com/mattfenwick/cyclonus/pkg/kube"
	"github.com/mattfenwick/cyclonus/pkg/matcher"
	v1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

var (
	namespaces = []string{"x", "y", "z"}
	podNames   = []string{"a", "b", "c"}
	// Ports that the pods serve, as in `cyclonus generate`.
	served = []int{80, 81}
	// Ports that are tried: every port that a case names, and its neighbours.
	ports     = []int{52, 53, 54, 79, 80, 81, 82, 83, 84, 85, 7981}
	protocols = []v1.Protocol{v1.ProtocolTCP, v1.ProtocolUDP, v1.ProtocolSCTP}
	// Addresses of no pod: between the pods' addresses, in their block only, and far away.
	outside = []string{"192.168.1.50", "192.168.1.250", "203.0.113.9"}
)

// addressStep is the distance between the addresses of two pods: of sixteen consecutive addresses, two or three are
// pods'.
const addressStep = 6

// cluster is cyclonus' mock with different addresses.
type cluster struct {
	*kube.MockKubernetes
	pods int
}

func (c *cluster) CreatePod(pod *v1.Pod) (*v1.Pod, error) {
	created, err := c.MockKubernetes.CreatePod(pod)
	if err != nil {
		return nil, err
	}
	c.pods++
	created.Status.PodIP = fmt.Sprintf("192.168.1.%d", c.pods*addressStep)
	return created, nil
}

// step is one line of the output.
type step struct {
	Case        int                           `json:"case"`
	Description string                        `json:"description"`
	Tags        []string                      `json:"tags"`
	Step        int                           `json:"step"`
	Policies    []*networkingv1.NetworkPolicy `json:"policies"`
	Namespaces  []*v1.Namespace               `json:"namespaces"`
	Pods        []*v1.Pod                     `json:"pods"`
	// PROTOCOL/PORT of each letter of a row.
	Columns []string `json:"columns"`
	Rows    []row    `json:"rows"`
}

// row has the verdicts between two addresses: a letter for each column.
type row struct {
	From    netip.Addr `json:"from"`
	To      netip.Addr `json:"to"`
	Letters string     `json:"letters"`
}

// letter of a verdict: allowed, or the direction that denies it.
func letter(allowed *matcher.AllowedResult) byte {
	switch ingress, egress := allowed.Ingress.IsAllowed(), allowed.Egress.IsAllowed(); {
	case ingress && egress:
		return '.'
	case egress:
		return 'i'
	case ingress:
		return 'e'
	default:
		return 'X'
	}
}

// peer is one end of a packet: a pod, or an address of no pod.
type peer struct {
	address string
	traffic *matcher.TrafficPeer
	pod     *probe.Pod
}

func peers(resources *probe.Resources) []peer {
	var all []peer
	for _, pod := range resources.Pods {
		all = append(all, peer{pod.IP, &matcher.TrafficPeer{
			Internal: &matcher.InternalPeer{
				PodLabels:       pod.Labels,
				NamespaceLabels: resources.Namespaces[pod.Namespace],
				Namespace:       pod.Namespace,
			},
			IP: pod.IP,
		}, pod})
	}
	for _, address := range outside {
		all = append(all, peer{address, &matcher.TrafficPeer{IP: address}, nil})
	}
	return all
}

// portName is the pod's name for a port that it serves; a policy may open the port by that name.
func (p peer) portName(port int, protocol v1.Protocol) string {
	if p.pod != nil {
		for _, container := range p.pod.Containers {
			if container.Port == port && container.Protocol == protocol {
				return container.PortName
			}
		}
	}
	return ""
}

// perform applies an action, like cyclonus' interpreter.
func perform(state *connectivity.TestCaseState, action *generator.Action) error {
	switch a := action; {
	case a.CreatePolicy != nil:
		return state.CreatePolicy(a.CreatePolicy.Policy)
	case a.UpdatePolicy != nil:
		return state.UpdatePolicy(a.UpdatePolicy.Policy)
	case a.DeletePolicy != nil:
		return state.DeletePolicy(a.DeletePolicy.Namespace, a.DeletePolicy.Name)
	case a.CreateNamespace != nil:
		return state.CreateNamespace(a.CreateNamespace.Namespace, a.CreateNamespace.Labels)
	case a.SetNamespaceLabels != nil:
		return state.SetNamespaceLabels(a.SetNamespaceLabels.Namespace, a.SetNamespaceLabels.Labels)
	case a.DeleteNamespace != nil:
		return state.DeleteNamespace(a.DeleteNamespace.Namespace)
	case a.CreatePod != nil:
		return state.CreatePod(a.CreatePod.Namespace, a.CreatePod.Pod, a.CreatePod.Labels)
	case a.SetPodLabels != nil:
		return state.SetPodLabels(a.SetPodLabels.Namespace, a.SetPodLabels.Pod, a.SetPodLabels.Labels)
	case a.DeletePod != nil:
		return state.DeletePod(a.DeletePod.Namespace, a.DeletePod.Pod)
	default:
		return fmt.Errorf("unknown action: %+v", action)
	}
}

// judged returns a step's state with the engine's verdicts.
func judged(state *connectivity.TestCaseState) (*step, error) {
	line := &step{Policies: state.Policies}
	for _, protocol := range protocols {
		for _, port := range ports {
			line.Columns = append(line.Columns, fmt.Sprintf("%s/%d", protocol, port))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(state.Resources.Namespaces)) {
		line.Namespaces = append(line.Namespaces, probe.KubeNamespace(name, state.Resources.Namespaces[name]))
	}
	for _, pod := range state.Resources.Pods {
		object := pod.KubePod()
		object.Status.Phase = v1.PodRunning
		object.Status.PodIP = pod.IP
		line.Pods = append(line.Pods, object)
	}
	policies := matcher.BuildNetworkPolicies(true, state.Policies)
	ends := peers(state.Resources)
	for _, from := range ends {
		for _, to := range ends {
			source, err := netip.ParseAddr(from.address)
			if err != nil {
				return nil, err
			}
			destination, err := netip.ParseAddr(to.address)
			if err != nil {
				return nil, err
			}
			var letters strings.Builder
			for _, protocol := range protocols {
				for _, port := range ports {
					letters.WriteByte(letter(policies.IsTrafficAllowed(&matcher.Traffic{
						Source:           from.traffic,
						Destination:      to.traffic,
						ResolvedPort:     port,
						ResolvedPortName: to.portName(port, protocol),
						Protocol:         protocol,
					})))
				}
			}
			line.Rows = append(line.Rows, row{source, destination, letters.String()})
		}
	}
	return line, nil
}

// resources creates the pods that every case begins with, on a new mock.
func resources() (*cluster, *probe.Resources, error) {
	mock := &cluster{MockKubernetes: kube.NewMockKubernetes(1)}
	made, err := probe.NewDefaultResources(mock, namespaces, podNames, served, protocols, nil, 10, false, "mock")
	if err != nil {
		return nil, nil, err
	}
	// The API server sets this label on every namespace; the mock does not for namespaces that a case creates.
	for name, labels := range made.Namespaces {
		labels[kube.DefaultNamespaceLabel] = name
	}
	return mock, made, nil
}

func run() error {
	_, made, err := resources()
	if err != nil {
		return err
	}
	// Like `cyclonus generate`: the cases' address blocks are derived from this pod's address.
	last, err := made.GetPod("z", "c")
	if err != nil {
		return err
	}
	output := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(output)
	cases := generator.NewTestCaseGenerator(true, last.IP, namespaces, nil, nil).GenerateTestCases()
	for number, testCase := range cases {
		mock, made, err := resources()
		if err != nil {
			return err
		}
		state := &connectivity.TestCaseState{Kubernetes: mock, Resources: made}
		for index, testStep := range testCase.Steps {
			for _, action := range testStep.Actions {
				if err := perform(state, action); err != nil {
					return fmt.Errorf("case %d, %s: %w", number+1, testCase.Description, err)
				}
			}
			line, err := judged(state)
			if err != nil {
				return err
			}
			line.Case, line.Description = number+1, testCase.Description
			line.Tags, line.Step = testCase.Tags.Keys(), index+1
			if err := encoder.Encode(line); err != nil {
				return err
			}
		}
	}
	return output.Flush()
}

func main() {
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(),
			"usage: cyclonus-cases: prints cyclonus' conformance cases with the verdicts of its engine")
	}
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "cyclonus-cases:", err)
		os.Exit(2)
	}
}
