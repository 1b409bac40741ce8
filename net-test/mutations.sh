#!/usr/bin/env bash
# Removes one rule at a time from the library, and shows that a run of the harness detects it within ten minutes.
#
#   net-test/mutations.sh             runs every mutation, after checking that the same trials hold without a mutation
#   net-test/mutations.sh NAME...     runs only these mutations
#   net-test/mutations.sh --list      lists the names of the mutations, and the rule that each removes
#
# The committed code is built in a worktree of its own, target/mutations. A mutation that changes nothing is a failure: the code of
# the rule has moved, and the expression below has to be adapted. The exit code is 1 if a mutation changes nothing, does not build,
# or is not detected.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD tree=$PWD/target/mutations seed=${TWOLANE_CHAOS_SEED:-7}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}

# mutation NAME TRIAL SECONDS RULE FILES EXPRESSION (of sed -E)
mutations() {
    mutation read-ahead half-read 10 "what was read ahead and is void ends with an error, and not as an end of data" \
        net/src/stream/read_half.rs 's/(Some\(Ending::Failed \| Ending::Aborted\) if .* => )void/\1Ok(0)/'
    mutation late-abort half-read 10 "what comes after the end of the data takes nothing back" \
        net/src/stream/read_half.rs 's/(Some\(Ending::PeerAborted \| Ending::Malformed\)) if [^=]*!= Incoming::Complete =>/\1 =>/'
    mutation progress slow-responses 70 "the bound on writing is on progress, and not on a piece" \
        net/src/peer/patience.rs 's/send\.write_from\(&mut data\)/async { let piece = data.split_to(data.len().min(262_144)); send.write_chunk(piece).await.map(|()| 1) }/'
    mutation fatal-record outage 60 "a fatal record finds room beside data, and is given up after Limits::linger alone" \
        "net/src/stream/errors/sender.rs net/src/stream/credit/peer.rs" \
        's/let bound = lanes\.carrier\.limits\.linger;/let bound = lanes.carrier.limits.error_timeout;/;s/limits\.unread_bytes\.min\(Limits::SEND_WINDOW\)/limits.unread_bytes/'
    mutation delivery delivered 15 "a writer of finished data is told why the peer has stopped it" \
        net/src/stream/write_half.rs '/fn delivery/,/fn over/s/\(None, outgoing\) => self\.over\(outgoing\)/(None, _) => Outcome::Fail(Failure::Finished)/'
    mutation instances restarts 20 "an instance that was there before does not replace one that came after it" \
        net/src/peer/heard.rs 's/(Some\(known\) if known\.generation > news\.generation) => false/\1 \&\& false => false/'
    mutation acceptor sitting 15 "a lane is open until its acceptor has let go of it" \
        net/src/stream/credit/lanes.rs 's/granted\.forget\(\);/drop(granted);/;s/seen <= \(self\.at_a_time/true || seen <= (self.at_a_time/'
    mutation given-up cancelled 20 "a request that is given up takes back what it has sent" \
        net/src/stream/write_half.rs '/None if lane\.finished && lane\.unanswered => TakeBack/d'
    mutation void cancelled 20 "what an abort makes void takes up no room while nobody reads" \
        net/src/stream/lanes.rs 's/self\.discard\(lane::DONE\);//'
    mutation stopped stopped 40 "a reader that stops answers its watermarks" \
        net/src/stream/recv.rs 's/self\.lanes\.say_consumed\(self\.lanes\.consumption\.close\(\)\);//'
    mutation dead-way dead-way 40 "a dial that was begun when another connection was known stays" \
        net/src/peer/glare.rs 's/\(true, false\) => Ordering::Greater/(true, false) if false => Ordering::Greater/'
    mutation read-meanwhile early 40 "what the peer sends is read while the request is still to be written" \
        net/src/peer/open.rs 's/filled = recv\.fill\(\), if open/filled = recv.fill(), if false \&\& open/'
}

names=("$@") failed=()

wanted() {
    [ ${#names[@]} = 0 ] && return
    local name
    for name in "${names[@]}"; do [ "$name" = "$1" ] && return; done
    return 1
}

# Builds the library with the current change, if any, and runs the trial with it.
play() {
    local trial=$1 seconds=$2
    (cd "$tree" && cargo build --quiet --package twolane-test --bin stream-tester) || return 2
    timeout 600 "$CARGO_TARGET_DIR/debug/stream-tester" chaos --trial "$trial" --seconds "$seconds" --seed "$seed" \
        >"$tree.txt" 2>&1
}

mutation() {
    local name=$1 trial=$2 seconds=$3 rule=$4 file=$5 expression=$6 code=0
    wanted "$name" || return 0
    "$phase"
}

list() {
    echo "$name: $rule"
}

# Runs the trial without a mutation. If it fails here, it proves nothing about the mutation.
whole() {
    play "$trial" "$seconds" || code=$?
    [ $code = 0 ] || fails "the trial $trial does not hold while nothing is taken out ($code)"
}

taken_out() {
    local one
    for one in $file; do
        sed -i -E "$expression" "$tree/$one" 2>/dev/null || true
        if git -C "$tree" diff --quiet -- "$one"; then
            fails "the rule is not in $one any more"
            git -C "$tree" checkout --quiet .
            return
        fi
    done
    play "$trial" "$seconds" || code=$?
    if [ $code = 1 ] && grep -q '^VIOLATION' "$tree.txt"; then
        echo "$name: found by $trial: $(grep -m1 '^VIOLATION' "$tree.txt" | cut -c1-200)"
    else
        fails "NOT FOUND by $trial (exit code $code)"
    fi
    git -C "$tree" checkout --quiet .
}

fails() {
    echo "$name: $1"
    failed+=("$name")
}

if [ "${1:-}" = --list ]; then
    names=() phase=list
    mutations
    exit
fi
mkdir -p target
git worktree remove --force "$tree" 2>/dev/null || true
git worktree add --quiet --force --detach "$tree" HEAD
trap 'git -C "$root" worktree remove --force "$tree"' EXIT
phase=whole
mutations
phase=taken_out
mutations
if [ ${#failed[@]} -gt 0 ]; then
    echo "not shown: ${failed[*]}"
    exit 1
fi
