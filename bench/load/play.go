package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	lksdk "github.com/livekit/server-sdk-go/v2"
)

const (
	topic = "load"
	// The nth message of a room is smallest + n%sizes bytes long, so that an observer which
	// knows sizes only still knows which message it has.
	smallest = 64
	sizes    = 128
)

// cycles are what happens in a room, over and over.  In the usual one six in ten are messages.
var cycles = map[string][]string{
	"": {
		"data", "data", "mute", "data", "attributes", "data", "mute", "data", "metadata", "data",
	},
	"messages": {"data"},
	"changes":  {"mute", "attributes", "metadata"},
}

// Sent is what the talker of one room did.
type Sent struct {
	// Data has the moment just before each message was handed over.
	Data       []float64 `json:"data"`
	Muted      int       `json:"muted"`
	Unmuted    int       `json:"unmuted"`
	Attributes int       `json:"attributes"`
	Metadata   int       `json:"metadata"`
}

// play lets things happen at a rate in each room.  Rooms do not act in step: each begins at
// a moment and at a place of the cycle of its own, so that not all mute at once.
func (stage *Stage) play(order Order, answer *Answer) {
	var (
		mutex   sync.Mutex
		running sync.WaitGroup
	)
	answer.Sent = map[string]Sent{}
	cycle := cycles[order.Kind]
	every := time.Duration(float64(time.Second) / order.Rate)
	count := int(order.Seconds * order.Rate)
	began := time.Now()
	for _, room := range order.Rooms {
		stage.mutex.Lock()
		talker := stage.people[room][0]
		stage.mutex.Unlock()
		running.Go(func() {
			var (
				sent  Sent
				late  time.Duration
				err   error
				next  = began.Add(time.Duration(rand.Int64N(int64(every))))
				first = rand.IntN(len(cycle))
			)
			for number := range count {
				time.Sleep(time.Until(next))
				late = max(late, time.Since(next))
				if err = talker.act(cycle[(first+number)%len(cycle)], &sent); err != nil {
					break
				}
				next = next.Add(every)
			}
			mutex.Lock()
			defer mutex.Unlock()
			answer.Sent[room] = sent
			answer.Late = max(answer.Late, late.Seconds())
			if err != nil {
				answer.fail(room, err)
			}
		})
	}
	running.Wait()
}

// act does one thing.  What it changes, it changes to something it was not before.
func (person *Person) act(what string, sent *Sent) error {
	local := person.room.LocalParticipant
	switch what {
	case "data":
		payload := fmt.Sprintf(`{"n":%d,"pad":"`, len(sent.Data))
		size := smallest + len(sent.Data)%sizes
		payload += strings.Repeat("x", size-len(payload)-2) + `"}`
		sent.Data = append(sent.Data, unix(time.Now()))
		return local.PublishDataPacket(lksdk.UserData([]byte(payload)),
			lksdk.WithDataPublishReliable(true), lksdk.WithDataPublishTopic(topic))
	case "mute":
		muted := !person.microphone.IsMuted()
		person.microphone.SetMuted(muted)
		if muted {
			sent.Muted++
		} else {
			sent.Unmuted++
		}
	case "attributes":
		local.SetAttributes(map[string]string{"step": time.Now().Format(time.RFC3339Nano)})
		sent.Attributes++
	case "metadata":
		local.SetMetadata(fmt.Sprintf(`{"step":"%s"}`, time.Now().Format(time.RFC3339Nano)))
		sent.Metadata++
	}
	return nil
}
