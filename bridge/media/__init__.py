"""Sound out of texts and files, for announcements.

wav_files        WAV, by the standard library
sound_files      any sound file: WAV, and the others where soundfile is installed
speech_engines   texts to samples: espeak-ng as a process, hibari-tts where it is installed
studio           fills `actors.publishing.publishing_port.SoundStudio`, with bounds and a cache
"""
