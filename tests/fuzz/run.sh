#!/bin/sh
# Fuzzes every reader of files: run.sh SECONDS [SEED], SECONDS each, two at a time; with a SEED the
# way they go is the same each time that they begin with nothing learnt. Builds with clang in
# build-fuzz. What is learnt stays in build-fuzz/corpus for the next time; inputs that fail are in
# build-fuzz/findings.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:?usage: run.sh SECONDS [SEED]}
seed=${2:-0}
build='build-fuzz'

if [ ! -f $build/build.ninja ]; then
  # loops that instrumentation keeps from being vectorised are no mistake
  flags="-fsanitize=fuzzer-no-link -fno-sanitize-recover=undefined -Wno-pass-failed"
  CC=clang CXX=clang++ meson setup $build -Dfuzz=true -Dplugin=disabled -Dcuda=disabled \
    -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false \
    "-Dc_args=$flags" "-Dcpp_args=$flags"
fi
ninja -C $build fuzzers
mkdir -p $build/findings

fuzz() {
  mkdir -p "$build/corpus/$1"
  words=
  [ ! -f "tests/fuzz/$1.dict" ] || words=-dict=tests/fuzz/$1.dict
  if "$build/tests/fuzz/fuzz-$1" -seed="$seed" -max_total_time="$seconds" -max_len=16384 -timeout=10 \
    -rss_limit_mb=1024 ${words:+"$words"} -print_final_stats=1 -artifact_prefix="$build/findings/$1-" \
    "$build/corpus/$1" "$build/tests/fuzz/seeds/$1" >"$build/fuzz-$1.log" 2>&1; then
    echo "fuzz $1: $(sed -n 's/^stat::number_of_executed_units: *//p' "$build/fuzz-$1.log") runs, no findings"
  else
    echo "fuzz $1: FAILED, see $build/fuzz-$1.log"
    grep -m 6 -E 'ERROR|SUMMARY|Assert|CRITICAL|artifact|^Base64' "$build/fuzz-$1.log" || tail -5 "$build/fuzz-$1.log"
    touch "$build/failed"
  fi
}

rm -f $build/failed
fuzz safetensors & fuzz torch & wait
fuzz pickle & fuzz model & wait
fuzz prompts
[ ! -e $build/failed ]
