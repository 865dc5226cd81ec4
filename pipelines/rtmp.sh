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

With --listen one player fetches it from here. The video begins when it comes, as soon as the model
is loaded, and ends with it:

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
mkfifo "$folder/flv" "$folder/stream"
# (open both ways, so that ffmpeg opens it before there is a video)
exec 9<>"$folder/stream"
# ffmpeg opens what it reads first, then what it writes, in turn. FLV that it hands on as mere bytes
# needs no picture for that, but some bytes: the header, which is always the same. The second output,
# an empty file, is there once the first one has its player; the live source begins no sooner.
printf 'FLV\001\005\000\000\000\011\000\000\000\000' >&9
ffmpeg -nostdin -hide_banner -loglevel error -f data -i "$folder/stream" \
  -map 0 -c copy -flush_packets 1 -f data -listen 1 "$url" \
  -map 0 -c copy -t 0 -f data "$folder/connected" 9>&- &
server_pid=$!
while [ ! -e "$folder/connected" ] && kill -0 "$server_pid" 2>/dev/null; do
  sleep 0.1
done
if [ -e "$folder/connected" ]; then
  # shellcheck disable=SC2086
  (launch is-live=true ! $video ! $h264 ! queue ! $mux ! \
    fdsink fd=3 $audio) 3>"$folder/flv" 9>&- &
  source_pid=$!
  # its header is there already
  (dd bs=1 count=13 of=/dev/null 2>/dev/null && exec cat) 9>&- <"$folder/flv" >"$folder/stream" &
  while kill -0 "$source_pid" 2>/dev/null && kill -0 "$server_pid" 2>/dev/null; do
    sleep 0.2
  done
  # Who has left does not read the rest. For who has not: ffmpeg closes the connection at the end,
  # and what the player has not taken by then is lost.
  kill "$source_pid" 2>/dev/null || sleep 1
fi
exec 9>&-
wait "$server_pid" || fail "ffmpeg ended with status $?: see above"
wait "$source_pid"
