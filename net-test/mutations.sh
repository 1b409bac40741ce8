#!/usr/bin/env bash
# Removes one rule at a time from the library, and shows that a trial of chaos or the rule's tests detect it.
#
#   net-test/mutations.sh             runs every mutation, after checking that the same trials and tests hold without a mutation
#   net-test/mutations.sh NAME...     runs only these mutations
#   net-test/mutations.sh --list      lists the names of the mutations, and the rule that each removes
#
# The committed code is built in a worktree of its own, target/mutations. A mutation that changes nothing is a failure: the code of
# the rule has moved, and the expression below has to be adapted. The exit code is 1 if a mutation changes nothing, does not build,
# or is not detected within ten minutes, by its trial and by each of its tests.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD tree=$PWD/target/mutations seed=${TWOLANE_CHAOS_SEED:-7}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}

# mutation NAME TRIAL SECONDS RULE FILES EXPRESSION (of sed -E) [TESTS]
#   tested NAME TESTS RULE FILES EXPRESSION
# TESTS are arguments of `cargo test --package twolane --package twolane-id`: targets, `--`, and full names of tests.
mutations() {
    mutation read-ahead half-read 10 "what was read ahead and is void ends with an error, and not as an end of data" \
        net/src/stream/read_half.rs 's/(Some\(Ending::Failed \| Ending::Aborted\) if .* => )void/\1Ok(0)/' \
        "--lib --test scenes --
        stream::read_half::tests::what_a_reader_is_told_is_what_the_table_says
        endings::bytes_that_this_sides_own_failure_has_made_void_are_an_error_and_no_end"
    mutation late-abort half-read 10 "what comes after the end of the data takes nothing back" \
        net/src/stream/read_half.rs 's/(Some\(Ending::PeerAborted \| Ending::Malformed\)) if [^=]*!= Incoming::Complete =>/\1 =>/' \
        "--lib --test scenes --
        stream::read_half::tests::what_a_reader_is_told_is_what_the_table_says
        endings::what_was_read_ahead_of_a_complete_end_is_given_whatever_the_peer_says_later"
    tested void-lines "--test scenes -- endings::lines_that_wait_are_not_given_out_after_an_abort" \
        "lines that wait are void after an abort" \
        net/src/stream/recv.rs '/fn buffer\(/,/^    }/s/self\.available\(\)\?/self.buffer.len()/'
    tested missing "--lib --test scenes --
        stream::read_half::tests::what_a_reader_is_told_is_what_the_table_says
        errors::what_a_reader_does_not_read_within_the_linger_bound_is_discarded_and_the_error_is_kept" \
        "an error before whose offset bytes are missing says how many" \
        net/src/stream/read_half.rs 's/missing => Next::Fail\(Failure::Ended \{ missing \}\)/_ => Next::Fail(Failure::Ended { missing: 0 })/'
    mutation progress slow-responses 70 "the bound on writing is on progress, and not on a piece" \
        net/src/peer/patience.rs 's/send\.write_from\(&mut data\)/async { let piece = data.split_to(data.len().min(262_144)); send.write_chunk(piece).await.map(|()| 1) }/' \
        "--test scenes -- limits::a_response_that_its_caller_takes_slowly_arrives_whole_however_long_it_takes"
    mutation fatal-record outage 60 "a fatal record finds room beside data, and is given up after Limits::linger alone" \
        "net/src/stream/errors/sender.rs net/src/stream/credit/peer.rs" \
        's/let bound = lanes\.carrier\.limits\.linger;/let bound = lanes.carrier.limits.error_timeout;/;s/limits\.unread_bytes\.min\(Limits::SEND_WINDOW\)/limits.unread_bytes/' \
        "--lib --test scenes --
        stream::credit::lane::tests::any_number_of_lanes_that_nobody_reads_leaves_room_for_records_in_what_this_side_keeps
        records::a_warning_that_is_held_up_halfway_is_followed_by_the_error_and_not_cut_by_it"
    tested replaced-warnings "--lib -- stream::errors::queue::tests::a_fatal_record_goes_out_behind_what_flows_and_in_place_of_what_does_not" \
        "a fatal record takes the place of warnings that cannot be sent" \
        net/src/stream/errors/queue.rs 's/if self\.blocked \{/if false \&\& self.blocked {/'
    tested peers-warnings "--lib -- stream::errors::inbox::tests::a_thousand_streams_of_large_warnings_hold_four_mebibytes_and_give_them_back" \
        "the warnings of one peer that wait are limited in bytes" \
        net/src/stream/errors/inbox.rs 's/\.filter\(\|sum\| \*sum <= MAX_BYTES_OF_PEER\)//'
    tested streams-warnings "--lib -- stream::errors::inbox::tests::large_warnings_of_one_stream_hold_a_hundred_and_twenty_eight_kibibytes" \
        "the warnings of one stream that wait are limited in bytes" \
        net/src/stream/errors/inbox.rs 's/ \|\| \(!state\.queue\.is_empty\(\) && state\.bytes \+ bytes > MAX_BYTES\)//'
    tested unread-warnings "--lib -- stream::lanes::tests::of_a_stream_that_nobody_has_accepted_no_warning_is_kept_and_no_details_of_its_error" \
        "warnings are not kept before the stream is accepted" \
        net/src/stream/lanes.rs 's/let nobody = matches!/let nobody = false \&\& matches!/'
    tested long-records "--lib -- stream::errors::reader::tests::a_long_record_waits_until_its_peer_has_fewer_of_them_under_way" \
        "the long records of one peer that are being collected are limited in number" \
        net/src/stream/errors/reader.rs 's/Arc::clone\(&carrier\.long_records\)\.acquire_owned/Arc::new(tokio::sync::Semaphore::new(1)).acquire_owned/'
    mutation delivery delivered 15 "a writer of finished data is told why the peer has stopped it" \
        net/src/stream/write_half.rs '/fn delivery/,/fn over/s/\(None, outgoing\) => self\.over\(outgoing\)/(None, _) => Outcome::Fail(Failure::Finished)/' \
        "--lib --test scenes --
        stream::write_half::tests::a_stop_of_finished_data_is_told_as_what_it_is
        endings::a_finished_lane_that_its_reader_stops_was_stopped_and_not_ended_here"
    mutation instances restarts 20 "an instance that was there before does not replace one that came after it" \
        net/src/peer/heard.rs 's/(Some\(known\) if known\.generation > news\.generation) => false/\1 \&\& false => false/' \
        "--lib --test scenes --
        peer::table::tests::an_instance_that_is_admitted_late_does_not_push_out_the_one_whose_handshake_came_after_its_own
        peers::an_instance_that_died_while_the_rules_were_asked_about_it_does_not_push_out_its_successor"
    tested draining-instance "--lib -- peer::table::tests::a_restarted_peer_replaces_every_connection_of_its_old_instance_at_once" \
        "a new instance ends the connections of the old one that drain, too" \
        net/src/peer/table.rs 's/if connection\.standing != Standing::Cut && connection\.nonce\.is_some\(\)/if connection.standing == Standing::Live \&\& connection.nonce.is_some()/'
    mutation acceptor sitting 15 "a lane is open until its acceptor has let go of it" \
        net/src/stream/credit/lanes.rs 's/granted\.forget\(\);/drop(granted);/;s/seen <= \(self\.at_a_time/true || seen <= (self.at_a_time/' \
        "--lib --test scenes --
        stream::credit::lanes::tests::a_lane_that_ended_here_is_open_until_it_ends_at_the_peer
        stream::credit::lanes::tests::more_lanes_than_were_granted_are_noticed
        lane_credit::lanes_that_their_opener_has_given_up_count_until_their_handlers_have_ended"
    tested handshakes "--test scenes -- limits::peers_that_say_nothing_make_room_for_those_that_come_after_them" \
        "a connection that waits for HELLO does not hold the place of a handshake" \
        net/src/endpoint/accept.rs '/^ {16}drop\(place\);$/d'
    tested silent-peers "--lib --test scenes --
        endpoint::waiting::tests::the_oldest_that_has_said_nothing_makes_room
        limits::peers_that_say_nothing_make_room_for_those_that_come_after_them" \
        "a peer that has not said HELLO makes room for one that comes after it" \
        net/src/endpoint/waiting.rs 's/of\(other\) && !spoke/of(other) \&\& !spoke \&\& false/'
    tested one-class "--lib -- endpoint::admission::tests::keys_behind_relays_and_the_networks_of_one_site_leave_half_of_the_places_to_others" \
        "one class of sources has at most half of the handshakes" \
        net/src/endpoint/admission.rs 's/ \|\| of_class >= self\.max_per_class\(\) \{/ {/'
    tested one-source "--lib -- endpoint::by_source::tests::one_address_leaves_a_quarter_of_the_places_to_the_others" \
        "one source has at most three quarters of the peers" \
        net/src/endpoint/by_source.rs 's/of_source\.max\(of_class\) < self\.most/true/'
    mutation given-up cancelled 20 "a request that is given up takes back what it has sent" \
        net/src/stream/write_half.rs '/None if lane\.finished && lane\.unanswered => TakeBack/d' \
        "--lib -- stream::write_half::tests::only_an_unanswered_opener_takes_back_what_it_has_finished"
    mutation void cancelled 20 "what an abort makes void takes up no room while nobody reads" \
        net/src/stream/lanes.rs 's/self\.discard\(lane::DONE\);//'
    tested early-data "--lib -- stream::credit::lane::tests::data_that_travels_with_a_header_counts_at_once_and_its_question_waits_for_the_answer" \
        "early data counts before the answer" \
        net/src/stream/credit/lane.rs 's/^        (lane\.share\(peer, self\.chunks\.unconsumed\(\)\.saturating_add\(len\)\);)/        if self.answered { \1 }/'
    mutation stopped stopped 40 "a reader that stops answers its watermarks" \
        net/src/stream/recv.rs 's/self\.lanes\.say_consumed\(self\.lanes\.consumption\.close\(\)\);//' \
        "--test scenes -- lane_credit::a_reader_that_lets_go_of_finished_data_frees_what_its_writer_was_lent"
    tested shutdown-rules "--test scenes -- access::revoking_cuts_off_at_once_while_the_endpoint_shuts_down_too" \
        "access rules apply while the endpoint shuts down" \
        net/src/peer/guard.rs 's/peers\.closed\.cancelled\(\)/peers.closing.cancelled()/'
    tested revoked "--lib -- stream::lanes::tests::a_stream_that_is_not_allowed_any_more_is_reset_and_stopped_whatever_its_state" \
        "a stream that is not allowed any more is reset and stopped at once" \
        net/src/stream/lanes.rs 's/self\.(reset\(lane::ABORTED\)|stop\(lane::FAILED\));//'
    tested opened-twice "--test scenes -- requests::a_stream_that_may_have_been_handled_is_not_opened_again" \
        "a stream that the peer may have handled is not opened again" \
        net/src/endpoint/mod.rs 's/(let unseen = .*)into_the_void;/\1harmless;/'
    mutation dead-way dead-way 40 "a dial that was begun when another connection was known stays" \
        net/src/peer/glare.rs 's/\(true, false\) => Ordering::Greater/(true, false) if false => Ordering::Greater/' \
        "--lib -- peer::glare::tests::every_verdict_is_the_one_in_the_table_whichever_comes_first"
    tested later-dial "--lib --
        peer::table::tests::a_dial_that_was_begun_with_the_other_sides_dial_known_stays_whoever_has_the_smaller_key
        peer::table::two_rows::a_dial_anew_is_what_both_sides_keep_whoever_dialled_before_and_whoever_has_the_smaller_key" \
        "of two dials the one that was begun when the other one was known stays, and not always that of the smaller key" \
        net/src/peer/glare.rs 's/later\.dial\.knows > 0 &&/false \&\& later.dial.knows > 0 \&\&/'
    tested dial-numbers "--lib -- peer::glare::tests::of_two_dials_of_one_side_the_later_stays_whichever_handshake_was_done_first" \
        "which of two dials is the later one is said by their dialler" \
        net/src/peer/glare.rs 's/\(one\.dial\.number, one\.generation\)\.cmp\(&\(other\.dial\.number, other\.generation\)\)/one.generation.cmp(\&other.generation)/'
    tested waiting-streams "--lib -- endpoint::waiting_streams::tests::no_operation_looks_at_more_than_a_few_of_a_hundred_thousand_streams" \
        "no stream is looked at to find another one that waits" \
        net/src/endpoint/waiting_streams.rs 's/self\.counts\.get\(peer\)\.copied\(\)\.unwrap_or\(0\)/self.streams.values().filter(|(from, ..)| from == peer).count()/'
    mutation read-meanwhile early 40 "what the peer sends is read while the request is still to be written" \
        net/src/peer/open.rs 's/filled = recv\.fill\(\), if open/filled = recv.fill(), if false \&\& open/' \
        "--test scenes --
        requests::early_data_that_finds_no_room_blocks_no_peer_that_answers_while_it_reads
        requests::a_request_and_its_response_may_be_on_their_way_at_the_same_time"
    tested early-bound "--test scenes -- requests::early_data_over_its_bound_is_refused_before_anything_is_sent" \
        "early data is limited" \
        net/src/endpoint/mod.rs 's/if len > max \{/if false \&\& len > max {/'
    tested watermarks "--lib -- stream::outbox::tests::a_peer_that_answers_marks_and_reads_none_makes_nothing_grow" \
        "the watermarks of a lane that wait to be sent are limited" \
        net/src/stream/outbox.rs 's/if marks\.len\(\) > MAX_MARKS/if false \&\& marks.len() > MAX_MARKS/'
    tested consumed "--lib -- stream::credit::lane::tests::a_report_of_more_than_was_written_counts_as_what_was_written_then" \
        "a report counts up to what was written by then" \
        net/src/stream/credit/lane.rs 's/offset\.min\(self\.written\(\)\)/offset/'
    tested drips "--lib -- endpoint::pace::tests::a_peer_that_drips_is_let_go_after_six_pauses_whatever_it_sent_before" \
        "a request has a lowest rate" \
        net/src/endpoint/pace.rs 's/self\.left\.saturating_sub\(waited\)/self.left/'
    tested words "--lib --
        words::tests::a_character_that_acts_on_the_terminal_or_hides_is_shown_by_its_number
        error::tests::no_error_shows_a_character_of_the_peers_that_acts_on_the_terminal_or_hides" \
        "text of a peer is escaped where it is shown" \
        net/src/words.rs 's/find\(\|\(_, c\)\| is_hidden\(\*c\)\)/find(|(_, c)| false \&\& is_hidden(*c))/'
    tested first-frame "--test scenes -- bad_input::a_control_stream_that_begins_with_another_frame_is_named_by_that_frame" \
        "an error names the frame that came in place of HELLO" \
        net/src/peer/link/hello.rs 's/Malformed::NotHello \{ kind \}/Malformed::NotHello { kind: 1 }/'
    tested own-timeout "--test scenes -- records::a_warning_that_is_held_up_halfway_is_followed_by_the_error_and_not_cut_by_it" \
        "a timeout of this side is told as one, and not as a stop of the peer" \
        net/src/stream/errors/sender.rs 's/Err\(WriteError::TimedOut \{ after \}\)/Err(WriteError::Stopped { code: lane::TIMED_OUT })/'
    tested newcomers "--lib -- peer::table::tests::no_connection_that_carries_streams_is_closed_for_a_newcomer" \
        "a connection that carries streams is not closed for a newcomer" \
        net/src/peer/table.rs 's/ && !connection\.busy//'
    tested passed-on "--test scenes -- negotiation::a_stream_whose_call_is_dropped_goes_to_a_handler_that_was_registered_meanwhile" \
        "a stream whose call is dropped goes to a handler that came meanwhile" \
        net/src/endpoint/router.rs 's/Ok\(Decision::Handle\(handler\)\) => return handle\(&handler, Offered::Answered\(stream\)\)\.await/Ok(Decision::Handle(_)) => return/'
    tested admitted "--lib --test scenes --
        peer::table::tests::a_peer_that_takes_connections_and_drops_them_was_never_connected_and_is_backed_off_from
        peers::a_peer_counts_as_connected_once_it_has_let_us_in_and_not_before" \
        "a peer is connected once it has said HELLO" \
        net/src/peer/table.rs 's/left\.any\(\|connection\| connection\.nonce\.is_some\(\)\)/left.next().is_some()/'
    tested connect "--test scenes --
        peers::a_peer_counts_as_connected_once_it_has_let_us_in_and_not_before
        dials::a_dial_that_the_peer_turns_away_is_an_error_of_connect_and_no_connection" \
        "Endpoint::connect returns once the peer has said HELLO" \
        net/src/peer/peers.rs 's/\|view\| view\.known\)/|view| view.current.is_some())/'
    tested signed-domain "--lib -- key::domain::tests::whoever_gets_bytes_signed_has_no_handshake_record_or_delegation_signed" \
        "a signed message is in a domain of its own" \
        id/src/key/domain.rs 's/\[MESSAGE_DOMAIN, &length\.to_be_bytes\(\), /[/'
    tested scope "--test scenes --
        delegation::a_node_acts_for_its_owner_within_the_scope_only
        delegation::what_a_handler_is_told_of_an_owner_is_within_the_scope" \
        "the owner of a stream or request is within the scope of the certificate" \
        net/src/access/mod.rs 's/\.filter\(\|delegation\| delegation\.permits\(protocol\.as_str\(\)\)\)//'
    tested new-key-file "--lib -- storage::file::place::tests::a_file_that_others_could_read_gets_no_secret_and_is_removed" \
        "a new key file is looked at before the secret is written" \
        id/src/storage/file/place.rs 's/Some\(found\) if found\.judge/Some(found) if false \&\& found.judge/'
    tested key-owner "--lib --
        storage::file::access::tests::a_file_of_another_user_is_refused_whatever_its_mode_is
        storage::file::tests::a_key_file_of_another_user_is_refused" \
        "a key file of another user is not loaded" \
        id/src/storage/file/access.rs 's/if self\.owner != SUPERUSER/if false \&\& self.owner != SUPERUSER/'
    tested new-directories "--lib -- storage::file::tests::the_names_of_the_file_and_of_each_new_directory_reach_the_disk" \
        "new directories of a key reach the disk" \
        id/src/storage/file/place.rs 's/missing\.iter\(\)\.rev\(\)\.try_for_each\(/missing.iter().take(0).try_for_each(/'
    tested hidden "--lib --test scenes --
        endpoint::plan::tests::what_an_endpoint_does_follows_from_all_that_was_asked_for
        network::an_endpoint_over_relays_only_shows_no_address_whatever_else_is_set" \
        "relay_only turns multicast off, also where it is asked for" \
        net/src/endpoint/plan.rs 's/Sockets::None => \(false, false\)/Sockets::None => (online, true)/'
    tested offline "--lib -- endpoint::plan::tests::what_an_endpoint_does_follows_from_all_that_was_asked_for" \
        "offline turns relays off, also those that are named" \
        net/src/endpoint/plan.rs 's/_ if !online => PlannedRelays::None/_ if false => PlannedRelays::None/'
    tested most-specific "--lib -- access::rules::tests::of_several_patterns_the_most_specific_one_decides_alone" \
        "of several lists that match, that of the most specific pattern decides" \
        net/src/access/rules.rs 's/matching\.max_by_key\(/matching.min_by_key(/'
    tested acted-for "--lib --test scenes --
        access::rules::tests::a_node_of_a_denied_owner_stays_denied_without_its_certificate
        delegation::a_node_of_a_denied_owner_does_not_come_back_by_hiding_its_certificate" \
        "a denied owner's node stays denied without its certificate" \
        net/src/access/rules.rs 's/\[identity\.owner_unscoped\(\), self\.acted_for\.owner\(&identity\.peer\)\]/[identity.owner_unscoped(), None]/'
    tested strangers "--lib --test scenes --
        access::show::tests::a_certificate_is_shown_to_those_that_have_a_reason_to_see_it
        delegation::a_stranger_is_shown_no_certificate_and_a_peer_that_was_called_is" \
        "a stranger is shown no certificate" \
        net/src/access/show.rs 's/\*called \|\| same_owner/true || *called || same_owner/'
    tested rechecks "--test scenes -- access::a_change_asks_the_rules_only_some_questions_at_a_time" \
        "after a change the rules are asked a bounded number of questions at a time" \
        net/src/access/gate.rs '/let _place = self\.rechecks/d'
    tested late-answers "--lib --test scenes --
        access::again::tests::the_pauses_double_and_the_last_try_is_when_the_patience_is_over
        access::rules_that_are_slow_after_a_change_throw_nobody_out" \
        "an answer that is late after a change ends nothing at once" \
        net/src/access/again.rs 's/if left\.is_zero\(\)/if true || left.is_zero()/'
    tested router-transport "--test scenes -- routed::a_router_with_another_transport_configuration_lets_nobody_in_and_says_what_to_set" \
        "a connection of a Router has a transport configuration of this library" \
        net/src/endpoint/transport.rs 's/^    congestion::bounds\(connection\)/    true || congestion::bounds(connection)/'
    tested ticket-size "--lib --
        ticket::tests::a_ticket_has_32_addresses_and_the_error_for_more_names_the_bound
        ticket::tests::a_ticket_has_4096_bytes_of_text_and_the_error_for_more_names_the_bound" \
        "the addresses and the text of a ticket are limited" \
        net/src/ticket.rs 's/if found > max/if false \&\& found > max/;s/^    if len > max/    if false \&\& len > max/'
    tested learned "--lib -- endpoint::learned::tests::a_peer_that_was_of_no_use_for_the_lifetime_is_forgotten" \
        "addresses that are of no use are forgotten in time" \
        net/src/endpoint/learned.rs 's/entry\.fixed \|\| now/true || entry.fixed || now/'
    tested revoked-nodes "--lib --test scenes --
        delegation::revocation::tests::a_node_that_is_revoked_has_no_certificate_of_the_owner_any_more_and_other_nodes_do
        delegation::all_certificates_of_a_node_or_from_before_a_time_end_without_their_serials" \
        "an owner can revoke all certificates of a node" \
        id/src/delegation/revocation.rs 's/if self\.nodes\.contains/if false \&\& self.nodes.contains/'
}

names=("$@") failed=() checked=()

wanted() {
    [ ${#names[@]} = 0 ] && return
    local name
    for name in "${names[@]}"; do [ "$name" = "$1" ] && return; done
    return 1
}

mutation() {
    local name=$1 trial=$2 seconds=$3 rule=$4 files=$5 expression=$6 tests=${7:-}
    wanted "$name" || return 0
    "$phase"
}

tested() {
    mutation "$1" "" 0 "$3" "$4" "$5" "$2"
}

list() {
    echo "$name: $rule"
}

# Builds the library with the current change, if any, and runs the trial with it.
play() {
    (cd "$tree" && cargo build --quiet --package twolane-test --bin stream-tester) || return 2
    timeout 600 "$CARGO_TARGET_DIR/debug/stream-tester" chaos --trial "$trial" --seconds "$seconds" --seed "$seed" \
        >"$tree.txt" 2>&1
}

# Prints the names of the tests in TESTS.
named() {
    local word
    for word in "$@"; do [[ $word != *::* ]] || echo "$word"; done
}

# Runs TESTS, and prints the names of those that do not end with the outcome $1. A test that does not run has no outcome.
unlike() {
    local outcome=$1 test
    shift
    (cd "$tree" && cargo test --quiet --package twolane --package twolane-id --all-features --no-run "$@") >"$tree.txt" 2>&1 || return 2
    (cd "$tree" && timeout 600 cargo test --package twolane --package twolane-id --all-features --no-fail-fast "$@" --exact) >"$tree.txt" 2>&1 || true
    for test in $(named "$@"); do
        grep -q "^test $test \.\.\. $outcome\$" "$tree.txt" || echo "$test"
    done
}

# Runs the trial without a mutation. If it fails here, it proves nothing about the mutation. The tests run later, all together.
whole() {
    local code=0
    checked+=($(named $tests))
    [ -z "$trial" ] || play || code=$?
    [ $code = 0 ] || fails "the trial $trial does not hold while nothing is taken out ($code)"
}

taken_out() {
    local file
    for file in $files; do
        sed -i -E "$expression" "$tree/$file" 2>/dev/null || true
        if git -C "$tree" diff --quiet -- "$file"; then
            fails "the rule is not in $file any more"
            git -C "$tree" checkout --quiet .
            return
        fi
    done
    [ -z "$trial" ] || by_trial
    [ -z "$tests" ] || by_tests
    git -C "$tree" checkout --quiet .
}

by_trial() {
    local code=0
    play || code=$?
    if [ $code = 1 ] && grep -q '^VIOLATION' "$tree.txt"; then
        echo "$name: found by $trial: $(grep -m1 '^VIOLATION' "$tree.txt" | cut -c1-200)"
    else
        fails "NOT FOUND by $trial (exit code $code)"
    fi
}

by_tests() {
    local blind code=0
    blind=$(unlike FAILED $tests) || code=$?
    if [ $code != 0 ]; then
        fails "does not build: $(grep -m1 '^error' "$tree.txt" || true)"
    elif [ -n "$blind" ]; then
        fails "NOT FOUND by ${blind//$'\n'/ }"
    else
        echo "$name: found by" $(named $tests)
    fi
}

fails() {
    echo "$name: $1"
    failed+=("$name")
}

phase=list
if [ "${1:-}" = --list ]; then
    names=()
    mutations
    exit
fi
for name in "$@"; do
    if ! (names=("$name") && mutations) | grep -q .; then
        echo "there is no mutation '$name': --list has the names" >&2
        exit 2
    fi
done
mkdir -p target
git worktree remove --force "$tree" 2>/dev/null || true
git worktree add --quiet --force --detach "$tree" HEAD
trap 'git -C "$root" worktree remove --force "$tree"' EXIT
phase=whole
mutations
name="without a mutation"
if [ ${#checked[@]} != 0 ]; then
    blind=$(unlike ok --lib --test scenes -- "${checked[@]}") || blind="the tests, which do not build"
    [ -z "$blind" ] || fails "these do not hold: ${blind//$'\n'/ }"
fi
phase=taken_out
mutations
if [ ${#failed[@]} -gt 0 ]; then
    echo "not shown: ${failed[*]}"
    exit 1
fi
