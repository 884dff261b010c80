package main

import (
	"bufio"
	"encoding/json"
	"log"
	"os"
	"time"

	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
)

// Job is a room to watch, as a line of the pipe of jobs has it.
type Job struct {
	URL   string `json:"url"`
	Room  string `json:"room"`
	Token string `json:"token"`
}

// Record is a line of the output, with the names that room-actors' own log uses.
type Record struct {
	Time     string `json:"time"`
	Event    string `json:"event"`
	Room     string `json:"room,omitempty"`
	Identity string `json:"identity,omitempty"`
	Topic    string `json:"topic,omitempty"`
	Size     int    `json:"size,omitempty"`
}

// record writes one; a line is written whole, whoever else writes.
func record(what Record) {
	what.Time = time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	line, err := json.Marshal(what)
	if err != nil {
		log.Fatal(err)
	}
	if _, err = os.Stdout.Write(append(line, '\n')); err != nil {
		log.Fatal(err)
	}
}

// watch is the other thing this program can be: an observer, LiveKit's Go SDK with a room of
// it a room and all of them in one process, doing the work of bench/rooms/watcher.py.
// It joins what the named pipe tells, as long as it lives.
func watch(jobs string) {
	pipe, err := os.OpenFile(jobs, os.O_RDWR, 0) // For writing too: so it never ends.
	if err != nil {
		log.Fatal(err)
	}
	record(Record{Event: "worker_registered"})
	slots := make(chan struct{}, atOnce)
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		var job Job
		if err := json.Unmarshal(lines.Bytes(), &job); err != nil {
			log.Fatal(err)
		}
		if err := onLoopback(job.URL); err != nil {
			log.Fatal(err)
		}
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			if err := job.watch(); err != nil {
				log.Printf("%s: %v", job.Room, err)
			}
		}()
	}
}

func (job Job) watch() error {
	room, err := lksdk.ConnectToRoomWithToken(
		job.URL, job.Token, job.callbacks(), lksdk.WithAutoSubscribe(false))
	if err != nil {
		return err
	}
	for _, person := range room.GetRemoteParticipants() {
		job.say("participant_connected", person)
		for _, track := range person.TrackPublications() {
			if publication, remote := track.(*lksdk.RemoteTrackPublication); remote {
				job.published(publication, person)
			}
		}
	}
	record(Record{Event: "session_started", Room: job.Room})
	return nil
}

func (job Job) say(event string, person lksdk.Participant) {
	record(Record{Event: event, Room: job.Room, Identity: person.Identity()})
}

func (job Job) published(track *lksdk.RemoteTrackPublication, person *lksdk.RemoteParticipant) {
	job.say("track_published", person)
	if track.Source() == livekit.TrackSource_MICROPHONE {
		if err := track.SetSubscribed(true); err != nil {
			log.Printf("%s: %v", job.Room, err)
		}
		track.SetEnabled(false)
	}
}

func (job Job) callbacks() *lksdk.RoomCallback {
	track := func(event string) func(lksdk.TrackPublication, lksdk.Participant) {
		return func(_ lksdk.TrackPublication, person lksdk.Participant) { job.say(event, person) }
	}
	return &lksdk.RoomCallback{
		ParticipantCallback: lksdk.ParticipantCallback{
			OnTrackPublished: job.published,
			OnTrackMuted:     track("track_muted"),
			OnTrackUnmuted:   track("track_unmuted"),
			OnMetadataChanged: func(_ string, person lksdk.Participant) {
				job.say("participant_metadata", person)
			},
			OnAttributesChanged: func(_ map[string]string, person lksdk.Participant) {
				job.say("participant_attributes", person)
			},
			OnConnectionQualityChanged: func(_ *livekit.ConnectionQualityInfo, person lksdk.Participant) {
				job.say("quality_changed", person)
			},
			OnDataPacket: func(packet lksdk.DataPacket, from lksdk.DataReceiveParams) {
				if data, user := packet.(*lksdk.UserDataPacket); user {
					record(Record{
						Event: "data_message", Room: job.Room, Identity: from.SenderIdentity,
						Topic: data.Topic, Size: len(data.Payload),
					})
				}
			},
		},
		OnParticipantConnected: func(person *lksdk.RemoteParticipant) {
			job.say("participant_connected", person)
		},
		OnParticipantDisconnected: func(person *lksdk.RemoteParticipant) {
			job.say("participant_disconnected", person)
		},
		OnActiveSpeakersChanged: func([]lksdk.Participant) {
			record(Record{Event: "speakers_changed", Room: job.Room})
		},
	}
}
