//! Subscriptions, and clients that reconnect with resources of an earlier connection.

use super::*;

#[test]
fn without_a_snapshot_nothing_is_sent() {
    conversation(
        "client CDS known c@1
         client LDS known l@1
         client ECDS +f known f@1
         client RDS +r
         progress:",
    );
}

#[test]
fn the_first_wildcard_request_gets_a_response_even_without_resources() {
    conversation(
        "client CDS
         publish ECDS f@1
         server 1 CDS
         client CDS ack 1
         client LDS +*
         server 2 LDS
         client LDS ack 2
         publish ECDS f@2",
    );
}

#[test]
fn a_reconnected_proxy_receives_only_differences() {
    conversation(
        "publish CDS c@1, LDS l@2, ECDS f@1, ECDS g@2
         client CDS known c@1 old@1
         server 1 CDS -old
         client CDS ack 1
         report CDS -old acknowledged
         client LDS known l@2
         client ECDS +f +g +h known f@1 g@1 h@1
         server 2 ECDS g@2
         progress: pending ECDS g, pending ECDS h
         client ECDS ack 2
         report ECDS g@2 acknowledged
         server 3 ECDS -h
         client ECDS ack 3
         report ECDS -h acknowledged
         progress: programmed",
    );
}

#[test]
fn a_reconnected_proxy_that_has_everything_receives_nothing() {
    conversation(
        "publish CDS c@1, LDS l@2, RDS r@3, ECDS f@4
         client CDS known c@1
         client LDS known l@2
         client RDS +r known r@3
         client ECDS +f known f@4
         progress: programmed",
    );
}

#[test]
fn endpoints_are_sent_again_after_a_reconnect() {
    conversation(
        "publish EDS c@1
         client EDS +c known c@1
         server 1 EDS c@1",
    );
}

#[test]
fn a_missing_cluster_is_removed_at_once_and_sent_when_it_exists() {
    conversation(
        "publish CDS c@1
         client CDS +c +d
         report CDS d is missing
         server 1 CDS c@1
         server 2 CDS -d
         client CDS ack 2
         report CDS -d acknowledged
         client CDS ack 1
         report CDS c@1 acknowledged
         publish CDS c@1, CDS d@1
         server 3 CDS d@1",
    );
}

#[test]
fn a_missing_filter_is_reported_once_and_sent_when_it_exists() {
    conversation(
        "publish ECDS f@1
         client ECDS +f +g
         report ECDS g is missing
         server 1 ECDS f@1
         client ECDS ack 1
         report ECDS f@1 acknowledged
         progress: pending ECDS g
         publish ECDS f@2
         server 2 ECDS f@2
         client ECDS ack 2
         report ECDS f@2 acknowledged
         publish ECDS f@2, ECDS g@1
         server 3 ECDS g@1
         client ECDS ack 3
         report ECDS g@1 acknowledged
         progress: programmed",
    );
}

#[test]
fn a_repeated_subscription_gets_a_response_again() {
    conversation(
        "publish ECDS f@1
         client ECDS +f
         server 1 ECDS f@1
         client ECDS +f
         server 2 ECDS f@1
         client ECDS ack 1
         progress: pending ECDS f
         client ECDS ack 2
         report ECDS f@1 acknowledged
         client ECDS +f
         server 3 ECDS f@1
         client ECDS nack 3 no
         report ECDS f@1 rejected: no
         client ECDS +f
         server 4 ECDS f@1",
    );
}

#[test]
fn an_unsubscribed_name_is_no_longer_sent() {
    conversation(
        "publish ECDS f@1, ECDS g@1
         client ECDS +f +g
         server 1 ECDS f@1
         server 2 ECDS g@1
         client ECDS -g -never-subscribed
         client ECDS ack 2
         publish ECDS f@1, ECDS g@2
         client ECDS ack 1 +g
         report ECDS f@1 acknowledged
         server 3 ECDS g@2",
    );
}

#[test]
fn an_empty_subscription_is_not_the_wildcard() {
    conversation(
        "publish ECDS f@1
         client ECDS +f
         server 1 ECDS f@1
         client ECDS ack 1 -f
         report ECDS f@1 acknowledged
         client ECDS
         publish ECDS f@2, ECDS g@2",
    );
}

#[test]
fn a_name_in_addition_to_the_wildcard() {
    conversation(
        "publish LDS a@1, LDS b@1
         client LDS
         server 1 LDS a@1 b@1
         client LDS ack 1 +a
         report LDS a@1 acknowledged
         report LDS b@1 acknowledged
         server 2 LDS a@1
         client LDS ack 2
         report LDS a@1 acknowledged
         client LDS -a
         server 3 LDS a@1
         client LDS ack 3
         report LDS a@1 acknowledged
         client LDS +x
         report LDS x is missing
         server 4 LDS -x
         client LDS ack 4
         report LDS -x acknowledged
         client LDS -x
         report LDS x is missing
         server 5 LDS -x
         client LDS ack 5
         report LDS -x acknowledged
         client LDS -*
         publish LDS a@2, LDS b@2",
    );
}

#[test]
fn a_type_that_is_not_served_is_reported() {
    conversation(
        "publish ECDS f@1
         client type.googleapis.com/envoy.service.runtime.v3.Runtime +x
         report type.googleapis.com/envoy.service.runtime.v3.Runtime is not served",
    );
}

#[test]
fn names_and_unanswered_responses_are_bounded() {
    let mut session = Session::new();
    let mut request = request("ECDS");
    request.resource_names_subscribe = (0..5000).map(|n| n.to_string()).collect();
    let error = session.on_request(&request).unwrap_err().to_string();
    assert!(
        error.contains("TypedExtensionConfig: more than 4096 names"),
        "{error}"
    );

    let mut session = Session::new();
    let _ = session.on_snapshot(Arc::new(Snapshot::new(vec![filter("f", 1)])));
    request.resource_names_subscribe = vec!["f".to_owned()];
    let error = (0..10_000)
        .find_map(|_| session.on_request(&request).err())
        .unwrap()
        .to_string();
    assert!(
        error.contains("responses without an ACK or NACK"),
        "{error}"
    );
}
