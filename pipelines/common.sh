# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # other files use some variables, and set others
# What the pipelines share: options, checks, the source and the encoder. Sourced, not run.
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A script sets `flags` (its own options without a value, with a space around each), defines
# help() and option() (name and value of an option of its own; fails where it has none of that
# name), calls parse "$@", prepare, and then launch with what comes behind the source.
set -eu

me=$(basename "$0")
here=$(cd "$(dirname "$0")" && pwd)
prompt="a red ball bouncing on green hills"
prompt_file='' seed=0 model='' seconds='' bitrate=2000 size='' rate='' encoder='' silence='' quiet='' properties='' build=''

common_help() {
  cat <<END
The video:
  --prompt TEXT       what it shows
  --prompt-file FILE  timed prompts, "HH:MM:SS.mmm text" a line
  --seed N            the same seed makes the same video
  --model PATH        packed .safetensors file or directory of published files
  --seconds N         how long, counted at 16 pictures a second, which the models make
  --size WxH          scale to this size, with borders where the shape differs
  --rate N[/D]        pictures a second, by repeating pictures
  --set NAME=VALUE    any property of lightforcesrc; may come again
The encoder:
  --bitrate KBIT      kilobits a second ($bitrate)
  --encoder TEXT      elements that make H.264, in place of x264enc
Other:
  --quiet             only errors
  --help              this text
The plugin is taken from LIGHTFORCE_BUILD, a build directory; without it from build/ beside this
folder, where there is one; else the installed one is used.
END
}

fail() { # TEXT: one error, where something is missing or wrong
  echo "$me: $1" >&2
  exit 1
}

misuse() { # TEXT: the command line is wrong
  echo "$me: $1 (see $me --help)" >&2
  exit 2
}

number() { # OPTION VALUE MIN MAX: a whole number
  case $2 in
    '' | *[!0-9]* | ??????????*) misuse "$1 wants a number from $3 to $4, not \"$2\"" ;;
    0?*) misuse "$1 wants a number without zeros in front, not \"$2\"" ;;
  esac
  if [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ]; then
    misuse "$1 wants a number from $3 to $4, not \"$2\""
  fi
}

common_option() { # NAME VALUE
  case $1 in
    --prompt) prompt=$2 ;;
    --prompt-file)
      [ -r "$2" ] || fail "no file $2 that can be read: name one with --prompt-file"
      prompt_file=$2
      ;;
    --seed)
      case $2 in
        '' | *[!0-9]* | ????????????????????* | 0?*)
          misuse "$1 wants a whole number without zeros in front, not \"$2\""
          ;;
      esac
      seed=$2
      ;;
    --model)
      [ -e "$2" ] || fail "no model $2: name a .safetensors file or a directory with --model"
      model=$2
      ;;
    --seconds)
      number "$1" "$2" 1 100000000
      seconds=$2
      ;;
    --bitrate)
      number "$1" "$2" 10 1000000
      bitrate=$2
      ;;
    --size)
      case $2 in
        *x*) ;;
        *) misuse "$1 wants WIDTHxHEIGHT, such as 1280x720, not \"$2\"" ;;
      esac
      number "$1" "${2%%x*}" 16 8192
      number "$1" "${2#*x}" 16 8192
      # 4:2:0 has a colour for each two pixels
      [ $((${2%%x*} % 2 + ${2#*x} % 2)) = 0 ] || misuse "$1 wants even numbers, not \"$2\""
      size=$2
      ;;
    --rate)
      number "$1" "${2%%/*}" 1 240000
      case $2 in */*) number "$1" "${2#*/}" 1 1001 ;; esac
      rate=$2
      ;;
    --set)
      case $2 in
        [a-z]*=*) ;;
        *) misuse "$1 wants NAME=VALUE, not \"$2\"" ;;
      esac
      properties="$properties$2
"
      ;;
    --encoder) encoder=$2 ;;
    *) return 1 ;;
  esac
}

parse() {
  while [ $# -gt 0 ]; do
    case $1 in
      -h | --help)
        help
        common_help
        exit 0
        ;;
      --quiet)
        quiet=-q
        shift
        continue
        ;;
      --?*) ;;
      *) misuse "\"$1\" is no option" ;;
    esac
    case $flags in
      *" $1 "*)
        option "$1" ''
        shift
        continue
        ;;
    esac
    case $1 in
      *=*)
        name=${1%%=*} value=${1#*=}
        case $flags in *" $name "*) misuse "$name takes no value" ;; esac
        shift
        ;;
      *)
        name=$1
        [ $# -ge 2 ] || misuse "$name is no option, or wants a value"
        value=$2
        shift 2
        ;;
    esac
    option "$name" "$value" || common_option "$name" "$value" || misuse "no option $name"
  done
}

package_of() { # ELEMENT: the Debian package that has it, nothing where it is not known here
  case $1 in
    x264enc) echo gstreamer1.0-plugins-ugly ;;
    videoconvert | videoscale | videorate | audiotestsrc | audioconvert) echo gstreamer1.0-plugins-base ;;
    progressreport | taginject | mp4mux | qtmux | matroskamux | flvmux | udpsink | autovideosink | \
      rtpmp2tpay | aacparse) echo gstreamer1.0-plugins-good ;;
    h264parse | mpegtsmux | srtsink | rtmp2sink | hlssink2 | voaacenc | fpsdisplaysink | waylandsink | \
      kmssink) echo gstreamer1.0-plugins-bad ;;
    ximagesink | xvimagesink | textoverlay) echo gstreamer1.0-x ;;
    lightforcesrc) echo gstreamer1.0-lightforce ;;
  esac
}

need_program() { # PROGRAM PACKAGE
  command -v "$1" >/dev/null || fail "$1 is missing: install the Debian package $2"
}

need() { # ELEMENT...
  missing='' packages='' unknown=''
  for element in "$@"; do
    gst-inspect-1.0 --exists "$element" >/dev/null 2>&1 && continue
    missing="$missing $element"
    package=$(package_of "$element")
    if [ -z "$package" ]; then
      unknown=$element
      continue
    fi
    case " $packages " in *" $package "*) ;; *) packages="$packages $package" ;; esac
  done
  [ -n "$missing" ] || return 0
  advice=''
  [ -z "$packages" ] || advice=": apt install$packages"
  # (packages of plugins list their elements in Debian's index)
  [ -z "$unknown" ] || advice="$advice. No package with $unknown is known here: check the name, or search with \
apt-cache dumpavail | grep -E '^Package:|^Gstreamer-Elements:.*$unknown' | grep -B 1 Elements:"
  fail "GStreamer lacks$missing$advice"
}

find_plugin() {
  build=${LIGHTFORCE_BUILD:-}
  if [ -n "$build" ]; then
    [ -f "$build/gst/libgstlightforce.so" ] ||
      fail "$build/gst/libgstlightforce.so does not exist: meson compile -C $build, or unset LIGHTFORCE_BUILD"
  elif [ -f "$here/../build/gst/libgstlightforce.so" ]; then
    build=$here/../build
  fi
  if [ -n "$build" ]; then
    build=$(cd "$build" && pwd)
    GST_PLUGIN_PATH=$build/gst${GST_PLUGIN_PATH:+:$GST_PLUGIN_PATH}
    export GST_PLUGIN_PATH
    if [ -z "${LIGHTFORCE_DEFAULT_MODEL:-}" ] && [ -f "$here/../models/lightforce-default.safetensors" ]; then
      LIGHTFORCE_DEFAULT_MODEL=$here/../models/lightforce-default.safetensors
      export LIGHTFORCE_DEFAULT_MODEL
    fi
  fi
  # (--exists asks for a plugin of GStreamer's own version)
  gst-inspect-1.0 lightforcesrc >/dev/null 2>&1 ||
    fail "there is no lightforcesrc: build it (meson setup build; meson compile -C build), or install gstreamer1.0-lightforce"
}

# the value of a property, as gst-launch-1.0 reads it
quote() {
  printf '"%s"' "$(printf %s "$1" | sed 's/[\\"]/\\&/g')"
}

# Checks for the elements; sets video (from any picture to what the encoder takes), h264 and,
# with --silence, audio (ends in the muxer named mux, or in its pad $audio_pad).
prepare() { # ELEMENT...
  need_program gst-launch-1.0 gstreamer1.0-tools
  find_plugin
  fps=${rate:-16}
  keys=$((${fps%%/*} * 2))
  case $fps in */*) keys=$((keys / ${fps#*/})) ;; esac
  [ "$keys" -gt 0 ] || keys=1
  caps=video/x-raw,format=I420,pixel-aspect-ratio=1/1
  [ -z "$size" ] || caps=$caps,width=${size%%x*},height=${size#*x}
  video='videoscale ! videoconvert'
  if [ -n "$rate" ]; then
    case $rate in */*) ;; *) rate=$rate/1 ;; esac
    caps=$caps,framerate=$rate
    video="videorate skip-to-first=true ! $video"
  fi
  video="$video ! $caps"
  h264=${encoder:-x264enc tune=zerolatency speed-preset=veryfast bitrate=$bitrate key-int-max=$keys}
  h264="$h264 ! h264parse config-interval=-1"
  audio=''
  if [ -n "$silence" ]; then
    # a hundred buffers a second
    buffers=-1
    [ -z "$seconds" ] || buffers=$((seconds * 100))
    audio="audiotestsrc wave=silence is-live=true samplesperbuffer=480 num-buffers=$buffers"
    audio="$audio ! audio/x-raw,rate=48000,channels=2 ! voaacenc ! aacparse ! queue ! mux.${audio_pad:-}"
    set -- "$@" audiotestsrc voaacenc aacparse
  fi
  [ -n "$encoder" ] || set -- "$@" x264enc
  need videoscale videoconvert videorate h264parse "$@"
}

# Becomes gst-launch-1.0, with the source in front of the given elements.
launch() { # PROPERTY... ! ELEMENT...
  saved=$IFS
  IFS='
'
  for property in $properties; do
    set -- "${property%%=*}=$(quote "${property#*=}")" "$@"
  done
  IFS=$saved
  [ -z "$seconds" ] || set -- num-buffers=$((seconds * 16)) "$@"
  [ -z "$model" ] || set -- "model=$(quote "$model")" "$@"
  [ -z "$prompt_file" ] || set -- "prompt-file=$(quote "$prompt_file")" "$@"
  # an end as by end of stream where it is interrupted, so that files are whole
  # shellcheck disable=SC2086 # no word where it is empty
  exec gst-launch-1.0 -e $quiet lightforcesrc "prompt=$(quote "$prompt")" seed="$seed" "$@"
}

# For launch in the background: what ends this script ends it, too, and lets it write its end. Ctrl-C
# goes to all of this terminal, and gst-launch-1.0 gives up where it comes twice.
pass_signals() {
  source_pid='' stopping=''
  trap 'stopping=1' INT
  # shellcheck disable=SC2086 # no word where it is empty
  trap 'stopping=1; kill -INT $source_pid 2>/dev/null' TERM
}

wait_for_source() { # sets status
  while :; do
    status=0
    wait "$source_pid" || status=$?
    # (a signal ends a wait, too)
    kill -0 "$source_pid" 2>/dev/null || break
  done
}

# As launch, to a peer that the element named peer connects to. GStreamer's own errors say little of
# what to do: where they are of that element, the given text comes behind them.
launch_to_peer() { # TEXT PROPERTY... ! ELEMENT...
  text=$1
  shift
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  mkfifo "$folder/errors"
  tee "$folder/copy" <"$folder/errors" >&2 &
  tee_pid=$!
  pass_signals
  (launch "$@") 2>"$folder/errors" &
  source_pid=$!
  wait_for_source
  wait "$tee_pid" || true
  [ "$status" = 0 ] || ! grep -q ':peer: ' "$folder/copy" || fail "$text"
  exit "$status"
}
