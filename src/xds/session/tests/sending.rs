//! Responses: which, when and in which order; and the effect of answers.

use super::conversation;

#[test]
fn a_proxy_starts_as_envoy_does() {
    conversation(
        "publish CDS vault@1, LDS data@1, RDS routes@1, ECDS facts@1, ECDS rules@1
         client CDS
         server 1 CDS vault@1
         client CDS ack 1
         report CDS vault@1 acknowledged
         client LDS
         server 2 LDS data@1
         client ECDS +rules +facts
         server 3 ECDS facts@1
         server 4 ECDS rules@1
         client LDS ack 2
         report LDS data@1 acknowledged
         progress: pending ECDS facts, pending ECDS rules, pending RDS routes
         client RDS +routes
         server 5 RDS routes@1
         client ECDS ack 3
         report ECDS facts@1 acknowledged
         client ECDS ack 4
         report ECDS rules@1 acknowledged
         client RDS ack 5
         report RDS routes@1 acknowledged
         progress: programmed",
    );
}

#[test]
fn only_what_changed_is_sent() {
    conversation(
        "publish ECDS f@1, ECDS g@1
         client ECDS +f +g
         server 1 ECDS f@1
         server 2 ECDS g@1
         client ECDS ack 1
         report ECDS f@1 acknowledged
         client ECDS ack 2
         report ECDS g@1 acknowledged
         publish ECDS f@1, ECDS g@2
         server 3 ECDS g@2
         progress: pending ECDS g
         client ECDS ack 3
         report ECDS g@2 acknowledged
         progress: programmed
         publish ECDS f@1, ECDS g@2",
    );
}

#[test]
fn a_slow_proxy_gets_the_newest_version_next() {
    conversation(
        "publish ECDS f@1
         client ECDS +f
         server 1 ECDS f@1
         publish ECDS f@2
         publish ECDS f@3
         publish ECDS f@4
         client ECDS ack 1
         report ECDS f@1 acknowledged
         server 2 ECDS f@4
         progress: pending ECDS f
         client ECDS ack 2
         report ECDS f@4 acknowledged",
    );
}

#[test]
fn resources_do_not_wait_for_each_other() {
    conversation(
        "publish ECDS f@1, ECDS g@1
         client ECDS +f +g
         server 1 ECDS f@1
         server 2 ECDS g@1
         client ECDS ack 2
         report ECDS g@1 acknowledged
         publish ECDS f@2, ECDS g@2
         server 3 ECDS g@2",
    );
}

#[test]
fn a_refused_version_is_not_sent_again_until_the_content_changes() {
    conversation(
        "publish ECDS f@1
         client ECDS +f
         server 1 ECDS f@1
         client ECDS ack 1
         report ECDS f@1 acknowledged
         publish ECDS f@2
         server 2 ECDS f@2
         client ECDS nack 2 unknown field 'foo'
         report ECDS f@2 rejected: unknown field 'foo'
         progress: refused ECDS f: unknown field 'foo'
         publish ECDS f@2, ECDS unrelated@1
         progress: pending ECDS unrelated, refused ECDS f: unknown field 'foo'
         publish ECDS f@3
         server 3 ECDS f@3
         client ECDS ack 3
         report ECDS f@3 acknowledged
         progress: programmed",
    );
}

#[test]
fn going_back_to_the_version_in_force_needs_no_message() {
    conversation(
        "publish ECDS f@1
         client ECDS +f
         server 1 ECDS f@1
         client ECDS ack 1
         report ECDS f@1 acknowledged
         publish ECDS f@2
         server 2 ECDS f@2
         client ECDS nack 2 no
         report ECDS f@2 rejected: no
         publish ECDS f@1
         progress: programmed",
    );
}

#[test]
fn after_a_refusal_of_several_resources_each_is_sent_alone() {
    conversation(
        "publish LDS a@1, LDS b@1, LDS c@1
         client LDS
         server 1 LDS a@1 b@1 c@1
         client LDS nack 1 listener b: port in use
         server 2 LDS a@1
         server 3 LDS b@1
         server 4 LDS c@1
         client LDS ack 2
         report LDS a@1 acknowledged
         client LDS nack 3 port in use
         report LDS b@1 rejected: port in use
         client LDS ack 4
         report LDS c@1 acknowledged
         progress: refused LDS b: port in use
         publish LDS a@2, LDS b@2, LDS c@2
         server 5 LDS b@2
         server 6 LDS a@2 c@2",
    );
}

#[test]
fn listeners_and_routes_wait_for_clusters_and_filters_do_not() {
    conversation(
        "client CDS +*
         client LDS +*
         client RDS +r
         client ECDS +f
         publish CDS c@1, LDS l@1, RDS r@1, ECDS f@1
         server 1 CDS c@1
         server 2 ECDS f@1
         client CDS ack 1
         report CDS c@1 acknowledged
         server 3 LDS l@1
         server 4 RDS r@1",
    );
}

#[test]
fn a_refused_cluster_does_not_delay_the_rest() {
    conversation(
        "client CDS
         client LDS
         publish CDS c@1, LDS l@1
         server 1 CDS c@1
         client CDS nack 1 bad address
         report CDS c@1 rejected: bad address
         server 2 LDS l@1",
    );
}

/// Envoy waits for the endpoints of a changed cluster, although it has them.
#[test]
fn endpoints_follow_each_changed_cluster() {
    conversation(
        "client CDS
         client EDS +c +d
         publish CDS c@1, CDS d@1, EDS c@1, EDS d@1
         server 1 CDS c@1 d@1
         server 2 EDS c@1
         server 3 EDS d@1
         client CDS ack 1
         report CDS c@1 acknowledged
         report CDS d@1 acknowledged
         client EDS ack 2
         report EDS c@1 acknowledged
         client EDS ack 3
         report EDS d@1 acknowledged
         publish CDS c@2, CDS d@1, EDS c@1, EDS d@1
         server 4 CDS c@2
         server 5 EDS c@1
         client EDS ack 5
         report EDS c@1 acknowledged
         progress: pending CDS c
         client CDS ack 4
         report CDS c@2 acknowledged
         progress: programmed
         publish CDS c@3, CDS d@1, EDS c@2, EDS d@1
         server 6 CDS c@3
         server 7 EDS c@2",
    );
}

#[test]
fn removals_come_last_and_in_reverse() {
    conversation(
        "client CDS
         client EDS +c
         client LDS
         client RDS +r
         client ECDS +f +g
         publish CDS c@1, CDS d@1, EDS c@1, LDS l@1, LDS m@1, RDS r@1, ECDS f@1, ECDS g@1
         server 1 CDS c@1 d@1
         server 2 EDS c@1
         server 3 ECDS f@1
         server 4 ECDS g@1
         client CDS ack 1
         report CDS c@1 acknowledged
         report CDS d@1 acknowledged
         server 5 LDS l@1 m@1
         server 6 RDS r@1
         client EDS ack 2
         report EDS c@1 acknowledged
         client ECDS ack 3
         report ECDS f@1 acknowledged
         client ECDS ack 4
         report ECDS g@1 acknowledged
         client LDS ack 5
         report LDS l@1 acknowledged
         report LDS m@1 acknowledged
         client RDS ack 6
         report RDS r@1 acknowledged
         progress: programmed
         publish CDS d@1, LDS l@2, ECDS f@2
         server 7 ECDS f@2
         server 8 LDS l@2
         server 9 LDS -m
         client LDS ack 8
         report LDS l@2 acknowledged
         client LDS ack 9
         report LDS -m acknowledged
         progress: pending CDS c, pending EDS c, pending ECDS f, pending ECDS g, pending RDS r
         client ECDS ack 7
         report ECDS f@2 acknowledged
         server 10 RDS -r
         server 11 ECDS -g
         server 12 EDS -c
         server 13 CDS -c
         client RDS ack 10
         report RDS -r acknowledged
         client ECDS ack 11
         report ECDS -g acknowledged
         client EDS ack 12
         report EDS -c acknowledged
         client CDS ack 13
         report CDS -c acknowledged
         progress: programmed",
    );
}

#[test]
fn a_resource_of_a_refused_listener_is_not_removed() {
    conversation(
        "client CDS
         client LDS
         client ECDS +f
         publish CDS c@1, LDS l@1, ECDS f@1
         server 1 CDS c@1
         server 2 ECDS f@1
         client CDS ack 1
         report CDS c@1 acknowledged
         server 3 LDS l@1
         client ECDS ack 2
         report ECDS f@1 acknowledged
         client LDS ack 3
         report LDS l@1 acknowledged
         publish LDS l@2
         server 4 LDS l@2
         client LDS nack 4 bad
         report LDS l@2 rejected: bad
         progress: pending CDS c, pending ECDS f, refused LDS l: bad
         publish LDS l@3
         server 5 LDS l@3
         client LDS ack 5
         report LDS l@3 acknowledged
         server 6 ECDS -f
         server 7 CDS -c",
    );
}

#[test]
fn an_empty_snapshot_removes_everything() {
    conversation(
        "client LDS
         publish LDS l@1
         server 1 LDS l@1
         client LDS ack 1
         report LDS l@1 acknowledged
         publish
         server 2 LDS -l
         client LDS ack 2
         report LDS -l acknowledged
         progress: programmed",
    );
}

#[test]
fn stale_and_foreign_nonces_are_ignored() {
    conversation(
        "publish ECDS f@1
         client ECDS +f
         server 1 ECDS f@1
         client ECDS ack 7
         client ECDS ack nonsense
         client ECDS nack 9 no
         client CDS ack 1
         server 2 CDS
         progress: pending ECDS f
         client ECDS ack 1
         report ECDS f@1 acknowledged
         client ECDS ack 1",
    );
}
