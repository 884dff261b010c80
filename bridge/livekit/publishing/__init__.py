"""Publishing in rooms through LiveKit's SDK: fills `actors.publishing.publishing_port`."""
