package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
)

const (
	// How many people join, and how many rooms are deleted, at the same time: each takes a good
	// part of a core for a moment, and what is measured shares these cores.
	atOnce = 8
	// emptyTimeout is for how many seconds a room stays without people.
	emptyTimeout = 600
	// goodbye is how long it takes at most until everybody knows that somebody with a track left.
	goodbye = time.Second
	// callTimeout bounds a call of the server's API.
	callTimeout = 30 * time.Second
)

// Stage is the server, and who is in its rooms because of us.
type Stage struct {
	url, key, secret string
	service          *lksdk.RoomServiceClient

	mutex  sync.Mutex
	people map[string][]*Person // by room
}

func newStage(url, key, secret string) *Stage {
	return &Stage{
		url: url, key: key, secret: secret,
		service: lksdk.NewRoomServiceClient(url, key, secret),
		people:  map[string][]*Person{},
	}
}

// each runs a function for all rooms, so many at the same time, and keeps what went wrong.
func (answer *Answer) each(rooms []string, most int, function func(room string) error) {
	var (
		mutex   sync.Mutex
		running sync.WaitGroup
		slots   = make(chan struct{}, most)
	)
	for _, room := range rooms {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			if err := function(room); err != nil {
				mutex.Lock()
				defer mutex.Unlock()
				answer.fail(room, err)
			}
		})
	}
	running.Wait()
}

func (answer *Answer) fail(room string, err error) {
	if answer.Failed == nil {
		answer.Failed = map[string]string{}
	}
	answer.Failed[room] = err.Error()
}

func (answer *Answer) late(planned time.Time) {
	answer.Late = max(answer.Late, time.Since(planned).Seconds())
}

// open makes a room with a dispatch for the agent.
func (stage *Stage) open(room, agent string) error {
	call, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	request := &livekit.CreateRoomRequest{Name: room, EmptyTimeout: emptyTimeout}
	if agent != "" {
		request.Agents = []*livekit.RoomAgentDispatch{{AgentName: agent}}
	}
	_, err := stage.service.CreateRoom(call, request)
	return err
}

func (stage *Stage) close(room string) error {
	call, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	_, err := stage.service.DeleteRoom(call, &livekit.DeleteRoomRequest{Room: room})
	return err
}

// create makes all rooms, evenly over the time given: at once where that is none.
func (stage *Stage) create(order Order, answer *Answer) {
	var mutex sync.Mutex
	answer.Asked = map[string]float64{}
	pause := time.Duration(order.Over / float64(len(order.Rooms)) * float64(time.Second))
	number := map[string]int{}
	for index, room := range order.Rooms {
		number[room] = index
	}
	began := time.Now()
	answer.each(order.Rooms, len(order.Rooms), func(room string) error {
		planned := began.Add(pause * time.Duration(number[room]))
		time.Sleep(time.Until(planned))
		mutex.Lock()
		answer.late(planned)
		answer.Asked[room] = unix(time.Now())
		mutex.Unlock()
		return stage.open(room, order.Agent)
	})
}

func (stage *Stage) delete(order Order, answer *Answer) {
	answer.each(order.Rooms, atOnce, stage.close)
}

// fill lets people come into each room; the first of them has a microphone.
func (stage *Stage) fill(order Order, answer *Answer) {
	answer.each(order.Rooms, atOnce, func(room string) error {
		return stage.come(room, order.People)
	})
}

func (stage *Stage) come(room string, people int) error {
	for number := range people {
		person, err := stage.join(room, fmt.Sprintf("person-%d", number), number == 0)
		if person != nil {
			stage.mutex.Lock()
			stage.people[room] = append(stage.people[room], person)
			stage.mutex.Unlock()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (stage *Stage) leave(order Order, answer *Answer) {
	answer.each(order.Rooms, atOnce, func(room string) error {
		stage.depart(room)
		return nil
	})
}

func (stage *Stage) depart(room string) {
	stage.mutex.Lock()
	people := stage.people[room]
	delete(stage.people, room)
	stage.mutex.Unlock()
	for _, person := range people {
		person.leave()
	}
}

// churn opens rooms at a rate; each gets its people, lives for a while and is deleted.
func (stage *Stage) churn(order Order, answer *Answer) {
	var (
		mutex   sync.Mutex
		running sync.WaitGroup
	)
	answer.Asked = map[string]float64{}
	began := time.Now()
	for number, room := range order.Rooms {
		planned := began.Add(time.Duration(float64(number) / order.Rate * float64(time.Second)))
		time.Sleep(time.Until(planned))
		mutex.Lock()
		answer.late(planned)
		mutex.Unlock()
		running.Go(func() {
			asked := unix(time.Now())
			err := stage.live(room, order)
			mutex.Lock()
			defer mutex.Unlock()
			answer.Asked[room] = asked
			if err != nil {
				answer.fail(room, err)
			}
		})
	}
	running.Wait()
}

// live is one room's life, from its making to its end.
func (stage *Stage) live(room string, order Order) error {
	if err := stage.open(room, order.Agent); err != nil {
		return err
	}
	err := stage.come(room, order.People)
	time.Sleep(time.Duration(order.Seconds * float64(time.Second)))
	stage.depart(room)
	time.Sleep(goodbye)
	if closed := stage.close(room); err == nil {
		err = closed
	}
	return err
}
