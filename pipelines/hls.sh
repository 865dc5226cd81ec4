#!/bin/sh
# Writes generated video as HLS with a page to watch it on.
# SPDX-License-Identifier: LGPL-2.1-or-later
flags=' --silence --keep --force '
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
output='' address=127.0.0.1 port='' segment=2 length=6 keep='' script='' force=''

help() {
  cat <<END
Usage: $me --output DIRECTORY [OPTION]...

Writes H.264 as HLS into DIRECTORY, live: video.m3u8, its segments, and index.html that plays it.
Any web server can serve the directory; --port starts one of Python's. What an earlier run left there
is deleted: video.m3u8, and each video-N.ts where N is a number of five digits or more.

  $me --output /tmp/hls --port 8080
  ffplay http://127.0.0.1:8080/video.m3u8        # or http://127.0.0.1:8080/ in a browser

Browsers that do not play HLS themselves need hls.js; name a copy with --hls-js.

The files:
  --output DIRECTORY  where to; it is made where it does not exist
  --segment SECONDS   how long each segment is ($segment)
  --length N          segments in the playlist ($length)
  --keep              keep all segments, and list them all
  --hls-js FILE       hls.js or hls.min.js, copied beside the page as hls.js
  --force             write over an index.html that is not this script's, or another hls.js
  --silence           add a silent AAC track
The server:
  --port N            serve the directory by HTTP on this port; without it nothing is served
  --address ADDRESS   where to listen ($address)
END
}

option() {
  case $1 in
    --output) output=$2 ;;
    --segment)
      number "$1" "$2" 1 60
      segment=$2
      ;;
    --length)
      number "$1" "$2" 3 1000
      length=$2
      ;;
    --keep) keep=1 ;;
    --hls-js)
      [ -r "$2" ] || fail "no file $2 that can be read: name hls.js with --hls-js"
      script=$2
      ;;
    --force) force=1 ;;
    --silence) silence=1 ;;
    --port)
      number "$1" "$2" 1 65535
      port=$2
      ;;
    --address) address=$2 ;;
    *) return 1 ;;
  esac
}

parse "$@"
[ -n "$output" ] || misuse "where to? Name a directory with --output"
if [ -z "$force" ]; then
  # (a line of hls.html)
  [ ! -e "$output/index.html" ] || grep -qs "hls.sh of lightforce writes this page" "$output/index.html" ||
    fail "$output/index.html is not of this script: name another directory, or use --force"
  [ -z "$script" ] || [ ! -e "$output/hls.js" ] || cmp -s "$script" "$output/hls.js" ||
    fail "$output/hls.js is not the same as $script: name another directory, or use --force"
fi
[ -z "$port" ] || need_program python3 python3
audio_pad=audio
prepare hlssink2 mpegtsmux
mkdir -p "$output" || fail "$output cannot be made: name another directory with --output"
output=$(cd "$output" && pwd)
# what an earlier run left is of another video
rm -f "$output/video.m3u8"
for old in "$output"/video-[0-9][0-9][0-9][0-9][0-9]*.ts; do
  case ${old##*/video-} in
    *[!0-9]*.ts) ;;
    *) rm -f "$old" ;;
  esac
done
cp "$here/hls.html" "$output/index.html" || fail "no file can be written in $output"
[ -z "$script" ] || cmp -s "$script" "$output/hls.js" || cp "$script" "$output/hls.js"
max_files=$((length + 3))
[ -z "$keep" ] || length=0 max_files=0
# (in a number's format, a percent sign is two)
segments=$(printf %s "$output" | sed 's/%/%%/g')/video-%05d.ts
# a key frame begins each segment
keys=$((${fps%%/*} * segment))
case $fps in */*) keys=$((keys / ${fps#*/})) ;; esac
[ -n "$encoder" ] || h264=$(echo "$h264" | sed "s/key-int-max=[0-9]*/key-int-max=$keys/")

play() {
  # shellcheck disable=SC2086 # lists of words
  launch is-live=true ! $video ! $h264 ! queue ! mux.video \
    hlssink2 name=mux "location=$(quote "$segments")" \
    "playlist-location=$(quote "$output/video.m3u8")" target-duration="$segment" \
    playlist-length="$length" max-files="$max_files" $audio
}

[ -n "$port" ] || play
# The server ends with the video: it would show old pictures as new ones.
pass_signals
(play) &
source_pid=$!
python3 -m http.server --bind "$address" --directory "$output" "$port" >/dev/null 2>"$output/.server.log" &
server_pid=$!
while kill -0 "$source_pid" 2>/dev/null && kill -0 "$server_pid" 2>/dev/null; do
  sleep 0.2 || true
done
if [ -z "$stopping" ] && ! kill -0 "$server_pid" 2>/dev/null; then
  kill -INT "$source_pid" 2>/dev/null || true
  fail "no server on $address:$port: $(tail -n 1 "$output/.server.log")"
fi
wait_for_source
kill "$server_pid" 2>/dev/null || true
wait "$server_pid" 2>/dev/null || true
exit "$status"
