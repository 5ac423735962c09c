// Calls test.Echo/WhoAreYou through grpc-go's xds resolver as lines of JSON on stdin say; answers in lines of JSON.
// The protocol is described in ../support/foreign-client.ts. With a port as argument it is a server instead.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	// Who does not import it gets round robin in its place.
	_ "google.golang.org/grpc/balancer/weightedroundrobin"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	_ "google.golang.org/grpc/xds"
)

type order struct {
	ID         int               `json:"id"`
	Target     string            `json:"target"`
	Count      int               `json:"count"`
	DurationMs int               `json:"durationMs"`
	SpacingMs  int               `json:"spacingMs"`
	Concurrent bool              `json:"concurrent"`
	Metadata   map[string]string `json:"metadata"`
	DeadlineMs int               `json:"deadlineMs"`
}

type result struct {
	ID      int            `json:"id"`
	Answers map[string]int `json:"answers"`
	Codes   map[string]int `json:"codes"`
	Errors  []string       `json:"errors"`
	Ms      int64          `json:"ms"`
}

// Messages are bytes and stay so.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string { return "raw" }

var (
	channelsLock sync.Mutex
	channels     = map[string]*grpc.ClientConn{}
)

func channel(target string) (*grpc.ClientConn, error) {
	channelsLock.Lock()
	defer channelsLock.Unlock()
	if open, found := channels[target]; found {
		return open, nil
	}
	creds, err := xdscreds.NewClientCredentials(xdscreds.ClientOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		return nil, err
	}
	open, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds))
	if err == nil {
		channels[target] = open
	}
	return open, err
}

func call(conn *grpc.ClientConn, o order) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(o.DeadlineMs)*time.Millisecond)
	defer cancel()
	for name, value := range o.Metadata {
		ctx = metadata.AppendToOutgoingContext(ctx, name, value)
	}
	var answer []byte
	err := conn.Invoke(ctx, "/test.Echo/WhoAreYou", []byte{}, &answer, grpc.ForceCodec(raw{}))
	return string(answer), err
}

func run(o order) result {
	r := result{ID: o.ID, Answers: map[string]int{}, Codes: map[string]int{}, Errors: []string{}}
	conn, err := channel(o.Target)
	if err != nil {
		r.Errors = append(r.Errors, err.Error())
		return r
	}
	var lock sync.Mutex
	var open sync.WaitGroup
	one := func() {
		answer, err := call(conn, o)
		lock.Lock()
		defer lock.Unlock()
		r.Codes[fmt.Sprint(int(status.Code(err)))]++
		if err == nil {
			r.Answers[answer]++
		} else if len(r.Errors) < 5 {
			r.Errors = append(r.Errors, err.Error())
		}
	}
	begin := time.Now()
	for i := 0; i < o.Count || time.Since(begin) < time.Duration(o.DurationMs)*time.Millisecond; i++ {
		if o.Concurrent {
			open.Add(1)
			go func() { defer open.Done(); one() }()
		} else {
			one()
		}
		time.Sleep(time.Duration(o.SpacingMs) * time.Millisecond)
	}
	open.Wait()
	r.Ms = time.Since(begin).Milliseconds()
	return r
}

func main() {
	if len(os.Args) > 1 {
		serve(os.Args[1])
	}
	var lock sync.Mutex
	out := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		go func() {
			r := run(o)
			lock.Lock()
			defer lock.Unlock()
			if err := out.Encode(r); err != nil {
				os.Exit(3)
			}
		}()
	}
}
