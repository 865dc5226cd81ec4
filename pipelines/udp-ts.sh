#!/bin/sh
# Sends generated video as an MPEG transport stream over UDP, by multicast or to one host.
# SPDX-License-Identifier: LGPL-2.1-or-later
flags=' --rtp --silence '
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
address=239.255.42.1 port=5000 interface='' ttl=1 mux_rate='' rtp=''

help() {
  cat <<END
Usage: $me [OPTION]...

Sends H.264 in MPEG-TS over UDP, live: seven packets of 188 bytes a datagram. To a multicast group
it goes to who joins; other addresses get it alone. The clock reference (PCR) comes with pictures,
at 16 a second each 62.5 ms; with --mux-rate it comes at least each 40 ms, as DVB has it.

  $me --address 239.255.42.1 --interface eth0
  ffplay udp://239.255.42.1:5000
  $me --rtp --address 10.0.0.7 --mux-rate 3000
  ffplay rtp://@:5000

The network:
  --address ADDRESS   group or host ($address)
  --port N            the port there ($port)
  --interface NAME    network interface that multicast goes out by
  --ttl N             routers that multicast may pass, and one ($ttl: this network only)
  --mux-rate KBIT     constant rate of the whole stream, filled up with null packets; at least a
                      fifth more than --bitrate
  --rtp               in RTP (payload type 33), as SMPTE ST 2022-2 has it
  --silence           add a silent AAC track
END
}

option() {
  case $1 in
    --address) address=$2 ;;
    --port)
      number "$1" "$2" 1 65535
      port=$2
      ;;
    --interface) interface=$2 ;;
    --ttl)
      number "$1" "$2" 0 255
      ttl=$2
      ;;
    --mux-rate)
      number "$1" "$2" 10 1000000
      mux_rate=$2
      ;;
    --rtp) rtp=1 ;;
    --silence) silence=1 ;;
    *) return 1 ;;
  esac
}

parse "$@"
[ -z "$mux_rate" ] || [ $((mux_rate * 5)) -ge $((bitrate * 6)) ] ||
  misuse "--mux-rate $mux_rate leaves no room beside --bitrate $bitrate: at least $(((bitrate * 6 + 4) / 5))"
[ -z "$interface" ] || [ -e "/sys/class/net/$interface" ] ||
  fail "there is no network interface $interface: one of $(echo /sys/class/net/* | sed 's,/sys/class/net/,,g')"
prepare mpegtsmux udpsink rtpmp2tpay
set -- mpegtsmux name=mux alignment=7 pcr-interval=2700
[ -z "$mux_rate" ] || set -- "$@" bitrate=$((mux_rate * 1000))
[ -z "$rtp" ] || set -- "$@" ! rtpmp2tpay
set -- "$@" ! udpsink "host=$address" port="$port" ttl-mc="$ttl"
[ -z "$interface" ] || set -- "$@" "multicast-iface=$interface"
# shellcheck disable=SC2086 # lists of words
launch is-live=true ! $video ! $h264 ! queue ! "$@" $audio
