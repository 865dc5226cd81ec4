#!/bin/sh
# Publishes generated video over RTMP, or lets a player fetch it.
# SPDX-License-Identifier: LGPL-2.1-or-later
flags=' --listen --silence '
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
url='' listen=''

help() {
  cat <<END
Usage: $me --url rtmp://HOST[:PORT]/APPLICATION/STREAM [OPTION]...

Publishes H.264 in FLV over RTMP, live, to a server that listens there:

  ffmpeg -listen 1 -i rtmp://127.0.0.1:1935/live/x -c copy x.mp4    # a server for one publisher
  $me --url rtmp://127.0.0.1:1935/live/x
  $me --url rtmps://a.rtmps.youtube.com/live2/KEY --silence --size 1280x720 --rate 30

From such a server players read it by the same address:  ffplay rtmp://HOST/live/x

With --listen one player fetches it from here; the video begins when it comes, and ends with it:

  $me --listen --url rtmp://127.0.0.1:1935/live/x
  ffplay rtmp://127.0.0.1:1935/live/x

The connection:
  --url URL           the stream's address; rtmps:// is encrypted. Others on this machine can read
                      a key in it from the list of processes
  --listen            be the server, for one player, by way of ffmpeg
  --silence           add a silent AAC track, which most services want
END
}

option() {
  case $1 in
    --url) url=$2 ;;
    --listen) listen=1 ;;
    --silence) silence=1 ;;
    *) return 1 ;;
  esac
}

parse "$@"
case $url in
  '') misuse "where to? Name a stream with --url" ;;
  rtmp://?*/?*/?*) ;;
  rtmps://?*/?*/?*) [ -z "$listen" ] || misuse "--listen serves rtmp://, not rtmps://" ;;
  *) misuse "--url wants rtmp://HOST[:PORT]/APPLICATION/STREAM, not \"$url\"" ;;
esac
# Sound is never late, pictures may be on a busy machine. Times in FLV only rise, so flvmux would give
# such a picture the time of the sound before it: it waits for pictures that long.
mux='flvmux name=mux streamable=true latency=500000000'
if [ -z "$listen" ]; then
  prepare flvmux rtmp2sink
  server=${url#*://}
  server=${server%%/*}
  # shellcheck disable=SC2086 # lists of words
  launch_to_peer "no server answered at ${server##*@}, or it ended the connection: start it first, or check --url" \
    is-live=true ! $video ! $h264 ! queue ! $mux ! rtmp2sink name=peer "location=$(quote "$url")" $audio
fi

need_program ffmpeg ffmpeg
prepare flvmux
folder=$(mktemp -d)
source_pid='' server_pid=''
trap 'rm -rf "$folder"' EXIT
# shellcheck disable=SC2086 # lists of words
trap 'kill $source_pid $server_pid 2>/dev/null; exit 130' INT TERM
mkfifo "$folder/stream"
# shellcheck disable=SC2086
(launch is-live=true ! $video ! $h264 ! queue ! $mux ! \
  filesink buffer-mode=unbuffered location="$folder/stream" $audio) &
source_pid=$!
# It is held open for a second after the video: ffmpeg closes the connection at its end, and what
# the player has not taken by then is lost.
(
  exec 9>"$folder/stream"
  while kill -0 "$source_pid" 2>/dev/null; do sleep 0.2; done
  sleep 1
) &
ffmpeg -nostdin -hide_banner -loglevel error -analyzeduration 200000 -f flv \
  -i "$folder/stream" -map 0:v -map '0:a?' -c copy -flush_packets 1 -f flv -listen 1 "$url" &
server_pid=$!
status=0
wait "$server_pid" || status=$?
# who has left does not read the rest
kill "$source_pid" 2>/dev/null || true
wait "$source_pid" || true
[ "$status" = 0 ] || fail "ffmpeg ended with status $status: see above"
