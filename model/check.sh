#!/usr/bin/env bash
# Has spin check every history of the handoff model, and find the bugs planted in it.
set -euo pipefail
model=$(cd "$(dirname "$0")" && pwd)/handoff.pml

for tool in spin gcc; do
  command -v $tool >/dev/null || {
    echo "$tool is missing: apt-get install spin gcc libc6-dev" >&2
    exit 1
  }
done
tmp=$(mktemp -d)
trap 'jobs=$(jobs -p); [[ -z $jobs ]] || kill $jobs 2>/dev/null || true; rm -rf "$tmp"' EXIT

# run NAME "spin flags" "gcc flags" "pan flags": the output of pan is in $tmp/NAME/out.
run() {
  mkdir -p "$tmp/$1"
  cd "$tmp/$1"
  # shellcheck disable=SC2086 # flags are words
  spin $2 -a "$model" >spin.out && gcc -w -O2 -DMEMLIM=3500 $3 -o pan pan.c && ./pan -m100000 $4 >out || {
    cat spin.out out >&2
    return 1
  }
}

# passed NAME WHAT: prints the figures of an exhaustive search without errors.
passed() {
  local out=$tmp/$1/out
  if ! grep -q 'errors: 0$' "$out" || grep -Eq 'Search not completed|max search depth too small' "$out"; then
    cat "$out"
    echo "$2: FAILED" >&2
    exit 1
  fi
  awk -v what="$2" '
    / states, stored/           { states = $1 }
    /transitions \(=/           { transitions = $1 }
    /total actual memory usage/ { memory = $1 }
    /elapsed time/              { time = $4 }
    END { printf "%s: %d states, %d transitions, 0 errors (%.0f s, %.0f MB)\n", what, states, transitions, time, memory }' "$out"
}

# finds BUG INVARIANT WHAT [claim]: the planted bug breaks this invariant, and no other.
finds() {
  local found
  if [[ ${4-} == claim ]]; then
    run "$1" "-DBAD_$1 -DHANDOFFS_END -DPLANS=1" -DNFAIR=3 '-a -f -A -w20'
    found=$(sed -n 's/^pan:1: acceptance cycle.*/handoffs_end/p' "$tmp/$1/out")
  else
    run "$1" "-DBAD_$1" -DSAFETY -w20
    found=$(sed -n 's/^pan:1: assertion violated \([^ ]*\).*/\1/p' "$tmp/$1/out")
  fi
  if [[ $found != "$2" ]]; then
    cat "$tmp/$1/out"
    echo "BAD_$1: $3: not found by $2" >&2
    exit 1
  fi
  printf 'planted BAD_%-16s found by %s: %s\n' "$1" "$2" "$3"
}

# The large searches take a core each; nothing is hashed away.
run safety '' -DSAFETY -w25 &
safety=$!
run liveness '-DHANDOFFS_END -DPLANS=1' -DNFAIR=3 '-a -f -w23' &
liveness=$!

finds NO_ACK I1 'granted before the holder has applied its loss'
finds EARLY_ACK I1 'applied is said before work has ended'
finds DRAINS_LOST I1 'a new leader does not load the drain lists'
finds REPLAN_FORGETS I1 'a new plan forgets who still drains'
finds OLD_INCARNATION I1 'a restarted process goes on as the one that died'
finds PLAIN_PUT I8 'the head is put, and not compared and swapped'
finds GRANTS_LATER I4 'a commit leaves out what is ready'
finds NO_DEATH I3 'a dead holder is waited for'
rm -rf "$tmp/NO_DEATH"
finds NO_DEATH handoffs_end 'a dead holder is waited for' claim

wait $liveness
passed liveness 'every handoff ends (one plan, weak fairness)'
wait $safety
passed safety 'I1, I3, I4, I8 (two plans)'
