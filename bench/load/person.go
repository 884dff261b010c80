package main

import (
	"time"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
)

const (
	// frame is how long one packet of a microphone lasts.
	frame = 20 * time.Millisecond
	// frames are sent at first: LiveKit announces a track once media has arrived.
	frames = 50
	// quiet is how often a microphone in which nobody speaks sends a packet (RFC 7587, 3.1.3).
	quiet = 400 * time.Millisecond
)

// silence is a frame of Opus in which nothing is heard.
var silence = []byte{0xf8, 0xff, 0xfe}

// Person is somebody in a room.
type Person struct {
	room       *lksdk.Room
	microphone *lksdk.LocalTrackPublication // nil for who only listens
	gone       chan struct{}
}

func (stage *Stage) join(room, identity string, talks bool) (*Person, error) {
	grant := &auth.VideoGrant{RoomJoin: true, Room: room}
	grant.SetCanUpdateOwnMetadata(true) // Without it a change is dropped in silence.
	token, err := auth.NewAccessToken(stage.key, stage.secret).
		SetIdentity(identity).SetVideoGrant(grant).ToJWT()
	if err != nil {
		return nil, err
	}
	joined, err := lksdk.ConnectToRoomWithToken(stage.url, token, nil, lksdk.WithAutoSubscribe(false))
	if err != nil {
		return nil, err
	}
	person := &Person{room: joined, gone: make(chan struct{})}
	if !talks {
		return person, nil
	}
	track, err := lksdk.NewLocalTrack(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus})
	if err != nil {
		return person, err
	}
	person.microphone, err = joined.LocalParticipant.PublishTrack(track, &lksdk.TrackPublicationOptions{
		Name: "microphone", Source: livekit.TrackSource_MICROPHONE,
	})
	if err == nil {
		go person.breathe(track)
	}
	return person, err
}

// breathe sends what a microphone sends while nobody speaks, until the person has gone.
func (person *Person) breathe(track *lksdk.LocalTrack) {
	pause := frame
	for sent := 0; ; sent++ {
		if sent == frames {
			pause = quiet
		}
		select {
		case <-person.gone:
			return
		case <-time.After(pause):
			// A packet that cannot be sent is no reason to end: the next one may be.
			_ = track.WriteSample(media.Sample{Data: silence, Duration: pause}, nil)
		}
	}
}

func (person *Person) leave() {
	close(person.gone)
	person.room.Disconnect()
}
