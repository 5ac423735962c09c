// A control plane made with go-control-plane, driven by lines of JSON on stdin: each is a whole configuration. Tells on stdout, as
// lines of JSON, that it listens, that a configuration is in force, and what clients refuse.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type config struct {
	Version string `json:"version"`
	// Client listeners, all with the same routes.
	Listeners []string `json:"listeners"`
	Routes    []struct {
		Prefix   string            `json:"prefix"`
		Header   map[string]string `json:"header"`
		Clusters map[string]uint32 `json:"clusters"`
	} `json:"routes"`
	Clusters map[string]struct {
		Endpoints []string `json:"endpoints"`
		// TLS by the certificate provider instance "files", if not nil.
		Sans *[]string `json:"sans"`
	} `json:"clusters"`
	// Routes with a domain that is none.
	Broken bool `json:"broken"`
	// Listeners of servers: name, address, port, and who may call.
	Servers []struct {
		Name  string   `json:"name"`
		Host  string   `json:"host"`
		Port  uint32   `json:"port"`
		TLS   bool     `json:"tls"`
		Allow []string `json:"allow"`
	} `json:"servers"`
}

var out sync.Mutex

func say(v map[string]any) {
	out.Lock()
	defer out.Unlock()
	line, _ := json.Marshal(v)
	fmt.Println(string(line))
}

func pack(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return a
}

var ads = &corev3.ConfigSource{
	ResourceApiVersion:    corev3.ApiVersion_V3,
	ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
}

func router() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&routerv3.Router{})}}
}

func listeners(c config) []types.Resource {
	var made []types.Resource
	for _, name := range c.Listeners {
		made = append(made, &listenerv3.Listener{Name: name, ApiListener: &listenerv3.ApiListener{ApiListener: pack(&hcmv3.HttpConnectionManager{
			RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: ads, RouteConfigName: "routes"}},
			HttpFilters:    []*hcmv3.HttpFilter{router()},
		})}})
	}
	for _, s := range c.Servers {
		filters := []*hcmv3.HttpFilter{router()}
		if s.Allow != nil {
			filters = append([]*hcmv3.HttpFilter{{Name: "rbac", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(rbac(s.Allow))}}}, filters...)
		}
		chain := &listenerv3.FilterChain{Filters: []*listenerv3.Filter{{Name: "hcm", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(&hcmv3.HttpConnectionManager{
			RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{Name: "inbound", VirtualHosts: []*routev3.VirtualHost{{
				Name: "all", Domains: []string{"*"}, Routes: []*routev3.Route{{
					Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
					Action: &routev3.Route_NonForwardingAction{NonForwardingAction: &routev3.NonForwardingAction{}},
				}},
			}}}},
			HttpFilters: filters,
		})}}}}
		if s.TLS {
			chain.TransportSocket = socket(&tlsv3.DownstreamTlsContext{
				CommonTlsContext:         common(nil),
				RequireClientCertificate: wrapperspb.Bool(true),
			})
		}
		made = append(made, &listenerv3.Listener{Name: s.Name, Address: address(s.Host, s.Port), FilterChains: []*listenerv3.FilterChain{chain}})
	}
	return made
}

func rbac(allow []string) *rbacv3.RBAC {
	var principals []*rbacconfigv3.Principal
	for _, id := range allow {
		principals = append(principals, &rbacconfigv3.Principal{Identifier: &rbacconfigv3.Principal_Authenticated_{Authenticated: &rbacconfigv3.Principal_Authenticated{PrincipalName: exact(id)}}})
	}
	return &rbacv3.RBAC{Rules: &rbacconfigv3.RBAC{Action: rbacconfigv3.RBAC_ALLOW, Policies: map[string]*rbacconfigv3.Policy{"allow": {
		Permissions: []*rbacconfigv3.Permission{{Rule: &rbacconfigv3.Permission_Any{Any: true}}},
		Principals:  principals,
	}}}}
}

func exact(text string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: text}}
}

func routes(c config) []types.Resource {
	var made []*routev3.Route
	for _, r := range c.Routes {
		match := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: r.Prefix}}
		for name, value := range r.Header {
			match.Headers = append(match.Headers, &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: exact(value)}})
		}
		weighted := &routev3.WeightedCluster{}
		for name, weight := range r.Clusters {
			weighted.Clusters = append(weighted.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: name, Weight: wrapperspb.UInt32(weight)})
		}
		made = append(made, &routev3.Route{Match: match, Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: weighted},
		}}})
	}
	domain := "*"
	if c.Broken {
		domain = "a*b"
	}
	return []types.Resource{&routev3.RouteConfiguration{Name: "routes", VirtualHosts: []*routev3.VirtualHost{{Name: "all", Domains: []string{domain}, Routes: made}}}}
}

func clusters(c config) (made []types.Resource, assignments []types.Resource) {
	for name, cluster := range c.Clusters {
		resource := &clusterv3.Cluster{
			Name:                 name,
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
			EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads},
			ConnectTimeout:       durationpb.New(time.Second),
		}
		if cluster.Sans != nil {
			resource.TransportSocket = socket(&tlsv3.UpstreamTlsContext{CommonTlsContext: common(*cluster.Sans)})
		}
		made = append(made, resource)
		locality := &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{Region: "r"}, LoadBalancingWeight: wrapperspb.UInt32(1)}
		for _, text := range cluster.Endpoints {
			host, port, err := net.SplitHostPort(text)
			if err != nil {
				panic(err)
			}
			number, _ := net.LookupPort("tcp", port)
			locality.LbEndpoints = append(locality.LbEndpoints, &endpointv3.LbEndpoint{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address(host, uint32(number))}},
			})
		}
		assignments = append(assignments, &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{locality}})
	}
	return made, assignments
}

func address(host string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func common(sans []string) *tlsv3.CommonTlsContext {
	validation := &tlsv3.CertificateValidationContext{
		CaCertificateProviderInstance: &tlsv3.CertificateProviderPluginInstance{InstanceName: "files", CertificateName: "ROOTCA"},
	}
	for _, san := range sans {
		validation.MatchSubjectAltNames = append(validation.MatchSubjectAltNames, exact(san))
	}
	return &tlsv3.CommonTlsContext{
		TlsCertificateProviderInstance: &tlsv3.CertificateProviderPluginInstance{InstanceName: "files", CertificateName: "default"},
		ValidationContextType:          &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: validation},
	}
}

func socket(context proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(context)}}
}

type oneForAll struct{}

func (oneForAll) ID(*corev3.Node) string { return "all" }

func main() {
	port := flag.Int("port", 0, "port to listen on")
	flag.Parse()
	store := cache.NewSnapshotCache(false, oneForAll{}, nil)
	callbacks := server.CallbackFuncs{
		StreamRequestFunc: func(_ int64, request *discoveryv3.DiscoveryRequest) error {
			if request.ErrorDetail != nil {
				say(map[string]any{"nack": request.ErrorDetail.Message})
				// It sends what was refused again at once.
				time.Sleep(200 * time.Millisecond)
			}
			return nil
		},
	}
	grpcServer := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(grpcServer, server.NewServer(context.Background(), store, callbacks))
	listen, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		panic(err)
	}
	go func() { _ = grpcServer.Serve(listen) }()
	say(map[string]any{"listening": listen.Addr().(*net.TCPAddr).Port})

	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c config
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			panic(err)
		}
		cs, es := clusters(c)
		snapshot, err := cache.NewSnapshot(c.Version, map[resource.Type][]types.Resource{
			resource.ListenerType: listeners(c), resource.RouteType: routes(c), resource.ClusterType: cs, resource.EndpointType: es,
		})
		if err != nil {
			panic(err)
		}
		if err := store.SetSnapshot(context.Background(), "all", snapshot); err != nil {
			panic(err)
		}
		say(map[string]any{"inForce": c.Version})
	}
}
