// Command load fills rooms of a LiveKit server on this machine and lets things happen in them.
//
// It reads orders from its standard input, one JSON object a line, carries them out one after
// the other, and answers each with one JSON object on its standard output.  The end of the
// input ends it, whatever is under way.  LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET say where; anything but
// loopback is refused, and so is an order beyond the bounds below: this is no weapon.
//
//	{"do": "create", "rooms": [...], "agent": NAME, "over": SECONDS}   all within that time
//	{"do": "delete", "rooms": [...]}
//	{"do": "fill", "rooms": [...], "people": N}      the first of them has a microphone
//	{"do": "leave", "rooms": [...]}
//	{"do": "play", "rooms": [...], "rate": EVENTS A SECOND AND ROOM, "seconds": S, "kind": CYCLE}
//	{"do": "churn", "rooms": [...], "agent": NAME, "rate": ROOMS A SECOND, "seconds": EACH LIVES}
//
// Times in answers are Unix seconds.  `load watch PIPE` is an observer instead (watch.go).
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"
)

const (
	mostRooms   = 5000
	mostPeople  = 10
	mostRate    = 2000.0
	mostSeconds = 600.0
)

// Order is what one line of the input asks for; what an order does not use stays zero.
type Order struct {
	Do      string   `json:"do"`
	Rooms   []string `json:"rooms"`
	People  int      `json:"people"`
	Agent   string   `json:"agent"`
	Rate    float64  `json:"rate"`
	Over    float64  `json:"over"`
	Seconds float64  `json:"seconds"`
	// Kind of play: the name of one of the cycles (play.go).
	Kind string `json:"kind"`
}

// Answer is what was done of it.
type Answer struct {
	Did   string  `json:"did"`
	Began float64 `json:"began"`
	Ended float64 `json:"ended"`
	// Asked has, by room, the moment just before the call that made it.
	Asked map[string]float64 `json:"asked,omitempty"`
	// Sent has, by room, what its talker did.
	Sent map[string]Sent `json:"sent,omitempty"`
	// Late is the most seconds by which anything happened later than planned.
	Late float64 `json:"late"`
	// Failed has what went wrong, by room.
	Failed map[string]string `json:"failed,omitempty"`
}

func (order Order) check() error {
	switch {
	case len(order.Rooms) == 0 || len(order.Rooms) > mostRooms:
		return fmt.Errorf("1 to %d rooms", mostRooms)
	case order.People < 0 || order.People > mostPeople:
		return fmt.Errorf("at most %d people", mostPeople)
	case order.Rate < 0 || order.Rate > mostRate:
		return fmt.Errorf("at most %g a second", mostRate)
	case order.Over < 0 || order.Over > mostSeconds || order.Seconds < 0 || order.Seconds > mostSeconds:
		return fmt.Errorf("at most %g seconds", mostSeconds)
	case cycles[order.Kind] == nil:
		return fmt.Errorf("no play is of kind %q", order.Kind)
	}
	return nil
}

func onLoopback(server string) error {
	parsed, err := url.Parse(server)
	if err != nil {
		return err
	}
	if address := net.ParseIP(parsed.Hostname()); address == nil || !address.IsLoopback() {
		return errors.New("LIVEKIT_URL is not on loopback")
	}
	return nil
}

func unix(at time.Time) float64 {
	return float64(at.UnixNano()) / 1e9
}

// lines of the input.  At its end so are we, whatever is under way: who gave orders has gone.
func lines() <-chan string {
	found := make(chan string)
	go func() {
		input := bufio.NewScanner(os.Stdin)
		input.Buffer(nil, 1<<20)
		for input.Scan() {
			found <- input.Text()
		}
		os.Exit(0)
	}()
	return found
}

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	lksdk.SetLogger(logger.LogRLogger(logr.Discard()))
	if len(os.Args) == 3 && os.Args[1] == "watch" {
		watch(os.Args[2])
		return
	}
	if err := onLoopback(os.Getenv("LIVEKIT_URL")); err != nil {
		log.Fatal(err)
	}
	stage := newStage(
		os.Getenv("LIVEKIT_URL"), os.Getenv("LIVEKIT_API_KEY"), os.Getenv("LIVEKIT_API_SECRET"))
	chapters := map[string]func(Order, *Answer){
		"create": stage.create,
		"delete": stage.delete,
		"fill":   stage.fill,
		"leave":  stage.leave,
		"play":   stage.play,
		"churn":  stage.churn,
	}
	answers := json.NewEncoder(os.Stdout)
	for line := range lines() {
		var order Order
		if err := json.Unmarshal([]byte(line), &order); err != nil {
			log.Fatalf("an order that is no JSON: %v", err)
		}
		chapter, known := chapters[order.Do]
		if !known {
			log.Fatalf("unknown order: %q", order.Do)
		}
		if err := order.check(); err != nil {
			log.Fatalf("refused: %v", err)
		}
		answer := Answer{Did: order.Do, Began: unix(time.Now())}
		chapter(order, &answer)
		answer.Ended = unix(time.Now())
		if err := answers.Encode(answer); err != nil {
			log.Fatal(err)
		}
	}
}
