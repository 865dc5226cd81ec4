#!/bin/sh
# Sends generated video over SRT.
# SPDX-License-Identifier: LGPL-2.1-or-later
flags=' --wait --silence '
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
address=127.0.0.1 port=9000 mode=listener latency=125 streamid='' passphrase_file='' wait=false

help() {
  cat <<END
Usage: $me [OPTION]...

Sends H.264 in MPEG-TS over SRT, live. Either receivers call, as many as like:

  $me --mode listener --port 9000
  ffplay 'srt://127.0.0.1:9000?mode=caller'

or this end calls a receiver that listens:

  ffplay 'srt://127.0.0.1:9000?mode=listener'
  $me --mode caller --address 127.0.0.1 --port 9000

The connection:
  --mode MODE         listener ($mode) or caller
  --address ADDRESS   whom to call; as listener, where to listen ($address; 0.0.0.0: everywhere)
  --port N            the port there ($port)
  --latency MS        time for lost packets to be sent again ($latency); both ends take the larger one
  --streamid TEXT     which stream it is to the receiver, as caller
  --passphrase-file FILE  encrypt (AES-128); 10 to 79 characters in the first line of FILE. Others on
                      this machine can read them from the list of processes while it runs
  --wait              as listener, begin with the first receiver
  --silence           add a silent AAC track
END
}

option() {
  case $1 in
    --mode)
      case $2 in
        caller | listener) mode=$2 ;;
        *) misuse "$1 wants caller or listener, not \"$2\"" ;;
      esac
      ;;
    --address) address=$2 ;;
    --port)
      number "$1" "$2" 1 65535
      port=$2
      ;;
    --latency)
      number "$1" "$2" 0 60000
      latency=$2
      ;;
    --streamid) streamid=$2 ;;
    --passphrase-file) passphrase_file=$2 ;;
    --wait) wait=true ;;
    --silence) silence=1 ;;
    *) return 1 ;;
  esac
}

parse "$@"
[ "$mode" = caller ] || [ -z "$streamid" ] || misuse "--streamid is for --mode caller: a listener is told it"
if [ -n "$passphrase_file" ]; then
  [ -r "$passphrase_file" ] || fail "no file $passphrase_file that can be read: name one with --passphrase-file"
  passphrase=$(head -n 1 "$passphrase_file")
  case ${#passphrase} in
    [1-7][0-9]) ;;
    *) fail "the first line of $passphrase_file has ${#passphrase} characters: a passphrase has 10 to 79" ;;
  esac
fi
prepare mpegtsmux srtsink
case $mode in caller) wait=true ;; esac
case $address in *:*) address="[$address]" ;; esac
# the mode is within the address: only there it says which end the port is of
uri="srt://$address:$port?mode=$mode"
# packets of 7 x 188 bytes, which is what SRT's live mode carries
set -- mpegtsmux name=mux alignment=7 ! srtsink name=peer "uri=$uri" \
  latency="$latency" wait-for-connection="$wait"
[ -z "$streamid" ] || set -- "$@" "streamid=$(quote "$streamid")"
[ -z "$passphrase_file" ] || set -- "$@" "passphrase=$(quote "$passphrase")" pbkeylen=16
# shellcheck disable=SC2086 # lists of words
set -- is-live=true ! $video ! $h264 ! queue ! "$@" $audio
[ "$mode" = caller ] || launch "$@"
launch_to_peer "no receiver answered at $address:$port, or it ended the connection: start it first, as \
listener, or check --address, --port and the passphrase" "$@"
