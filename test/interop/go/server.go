package main

import (
	"context"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/xds"
)

func caller(ctx context.Context) string {
	if p, found := peer.FromContext(ctx); found {
		if tls, secure := p.AuthInfo.(credentials.TLSInfo); secure && len(tls.State.PeerCertificates) > 0 {
			if uris := tls.State.PeerCertificates[0].URIs; len(uris) > 0 {
				return uris[0].String()
			}
		}
	}
	return "nobody"
}

func whoAreYou(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	var in []byte
	if err := decode(&in); err != nil {
		return nil, err
	}
	answer := func(ctx context.Context, _ any) (any, error) { return []byte(caller(ctx)), nil }
	if intercept == nil {
		return answer(ctx, in)
	}
	return intercept(ctx, in, &grpc.UnaryServerInfo{FullMethod: "/test.Echo/WhoAreYou"}, answer)
}

// Serves test.Echo/WhoAreYou by grpc-go's xDS server: the answer is who asks. Says "serving" when it listens.
func serve(port string) {
	creds, err := xdscreds.NewServerCredentials(xdscreds.ServerOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		log.Fatal(err)
	}
	server, err := xds.NewGRPCServer(grpc.Creds(creds), grpc.ForceServerCodec(raw{}))
	if err != nil {
		log.Fatal(err)
	}
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Echo",
		Methods: []grpc.MethodDesc{
			{MethodName: "WhoAreYou", Handler: whoAreYou},
			{MethodName: "Other", Handler: whoAreYou},
		},
	}, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("serving")
	log.Fatal(server.Serve(listener))
}
