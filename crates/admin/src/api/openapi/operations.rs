//! Every operation of the API.

use serde_json::Value;

use super::{Answer, Body, Make, Operation, of};
use crate::access::Role;
use crate::api::request::Reason;
use crate::api::{
    Live, audit, calls, capture, dids, drain, explain, faults, generations, guard, health, leases, limits, log, panic,
    peers, session, sheet, testers, tokens,
};
use crate::status::Status;
use telemetry::calls::CallDetail;

/// Problems of what may not be there, may have changed, or needs the database.
const MISSING: &[u16] = &[404];
const DATABASE: &[u16] = &[503];
const WRITE: &[u16] = &[404, 409, 503];
const VERSIONED: &[u16] = &[404, 409, 428, 503];

const fn read(path: &'static str, summary: &'static str, answer: Make) -> Operation {
    Operation {
        method: "get",
        path,
        role: Some(Role::Viewer),
        summary,
        question: None,
        body: Body::None,
        has_version: false,
        status: 200,
        answer: Answer::Json(answer),
        problems: &[],
    }
}

/// A write with a body, by whoever has this role.
const fn write(method: &'static str, path: &'static str, role: Role, summary: &'static str, body: Make) -> Operation {
    let operation = read(path, summary, of::<Live>);
    Operation { method, role: Some(role), body: Body::Json(body), problems: WRITE, ..operation }
}

/// A `DELETE` that says why behind `?`.
const fn end(path: &'static str, role: Role, summary: &'static str) -> Operation {
    let operation = read(path, summary, of::<Live>);
    Operation { method: "delete", role: Some(role), question: Some(of::<Reason>), problems: WRITE, ..operation }
}

const fn asked(operation: Operation, question: Make) -> Operation {
    Operation { question: Some(question), ..operation }
}

const fn versioned(operation: Operation) -> Operation {
    Operation { has_version: true, problems: VERSIONED, ..operation }
}

const fn made(operation: Operation) -> Operation {
    Operation { status: 201, ..operation }
}

const fn answered(operation: Operation, answer: Make) -> Operation {
    Operation { answer: Answer::Json(answer), ..operation }
}

const fn sent(operation: Operation, kind: &'static str) -> Operation {
    Operation { answer: Answer::Other(kind), ..operation }
}

const fn with(operation: Operation, problems: &'static [u16]) -> Operation {
    Operation { problems, ..operation }
}

const fn by(role: Role, operation: Operation) -> Operation {
    Operation { role: Some(role), ..operation }
}

/// Every one of them.
pub(super) static OPERATIONS: &[Operation] = &[
    read("/status", "What the process says of itself", of::<Status>),
    read("/health", "Whether calls are served as they should be", of::<health::Health>),
    asked(
        read("/limits", "Limits on calls, with what is used of them", of::<limits::LimitList>),
        of::<limits::LimitsQuestion>,
    ),
    Operation {
        answer: Answer::JsonOrTable(of::<dids::Dids>),
        ..asked(read("/dids", "DIDs, by number", of::<dids::Dids>), of::<dids::DidsQuestion>)
    },
    Operation {
        method: "post",
        body: Body::Table,
        ..asked(
            with(
                by(
                    Role::Operator,
                    read("/dids/csv", "Moves DIDs by a table, or says what it would do", of::<sheet::Imported>),
                ),
                DATABASE,
            ),
            of::<sheet::ImportQuestion>,
        )
    },
    with(read("/dids/{number}", "One DID, in any spelling", of::<dids::Did>), MISSING),
    versioned(write(
        "put",
        "/dids/{number}/environment",
        Role::Operator,
        "Moves a DID, for good or as a lease",
        of::<dids::EnvironmentChange>,
    )),
    Operation {
        method: "post",
        ..asked(
            with(
                by(
                    Role::Operator,
                    read(
                        "/dids/{number}/readiness",
                        "Asks an environment's PBX whether it would take the number's calls",
                        of::<dids::readiness::Readiness>,
                    ),
                ),
                MISSING,
            ),
            of::<dids::readiness::ReadinessQuestion>,
        )
    },
    with(read("/leases", "The leases in effect", of::<leases::Leases>), DATABASE),
    end("/leases/{id}", Role::Operator, "Ends a lease"),
    with(read("/testers", "The tester overrides in effect", of::<testers::Testers>), DATABASE),
    made(write("post", "/testers", Role::Operator, "Sends one caller's calls elsewhere", of::<testers::NewTester>)),
    end("/testers/{id}", Role::Operator, "Ends a tester override"),
    with(read("/panic", "Whether everything goes to prod", of::<panic::PanicState>), DATABASE),
    write("put", "/panic", Role::Admin, "Sends everything to prod", of::<panic::NewPanic>),
    end("/panic", Role::Admin, "Releases the panic"),
    read("/peers", "Every gateway and target", of::<peers::Peers>),
    answered(
        write("put", "/peers/{peer}", Role::Operator, "Decides about a peer", of::<peers::NewAdmin>),
        of::<peers::Decided>,
    ),
    read("/drain", "Whether new calls are refused", of::<drain::DrainState>),
    answered(write("put", "/drain", Role::Admin, "Refuses new calls", of::<drain::NewDrain>), of::<drain::DrainState>),
    answered(end("/drain", Role::Admin, "Takes new calls again"), of::<drain::DrainState>),
    asked(read("/directory/faults", "What is wrong with rows", of::<faults::Faults>), of::<faults::FaultsQuestion>),
    read("/generations", "The last generations, newest first", of::<generations::Generations>),
    asked(
        with(read("/generations/diff", "What lies between two generations", of::<generations::Diff>), MISSING),
        of::<generations::DiffQuestion>,
    ),
    read("/guard", "What the guard holds back", of::<guard::GuardState>),
    versioned(write("post", "/guard/accept", Role::Admin, "Lets in what is held back", of::<guard::Judgement>)),
    versioned(write("post", "/guard/reject", Role::Admin, "Keeps out what is held back", of::<guard::Judgement>)),
    Operation {
        answer: Answer::JsonOrTable(of::<audit::Audit>),
        ..asked(
            with(read("/audit", "Who changed what, newest first", of::<audit::Audit>), DATABASE),
            of::<audit::AuditQuestion>,
        )
    },
    by(Role::Admin, read("/tokens", "Tokens, without their secrets", of::<tokens::TokenList>)),
    made(answered(
        write("post", "/tokens", Role::Admin, "Makes a token, and shows it this once", of::<tokens::TokenWanted>),
        of::<tokens::TokenMade>,
    )),
    answered(end("/tokens/{id}", Role::Admin, "Revokes a token"), of::<tokens::TokenEntry>),
    asked(read("/calls", "Calls, newest first", of::<calls::CallList>), of::<calls::CallsQuestion>),
    asked(
        read("/calls/ended", "Calls that were over since the last question", of::<calls::EndedCalls>),
        of::<calls::EndedQuestion>,
    ),
    asked(
        sent(read("/calls/follow", "Each call as it ends", of::<Value>), "text/event-stream"),
        of::<calls::FollowQuestion>,
    ),
    with(read("/calls/{id}", "One call: its decision, its messages", of::<CallDetail>), MISSING),
    with(sent(read("/calls/{id}/ladder.svg", "A call's messages as a picture", of::<Value>), "image/svg+xml"), MISSING),
    by(
        Role::Operator,
        with(
            sent(
                read("/calls/{id}/pcap", "A call's messages as a capture", of::<Value>),
                "application/vnd.tcpdump.pcap",
            ),
            MISSING,
        ),
    ),
    asked(read("/explain", "Where a call would go", of::<Value>), of::<explain::Question>),
    read("/log", "How the log is written", of::<log::LogState>),
    with(
        answered(
            write("put", "/log", Role::Operator, "Writes the log otherwise", of::<log::LogChange>),
            of::<log::LogState>,
        ),
        &[],
    ),
    with(
        answered(
            write(
                "post",
                "/log/watches",
                Role::Operator,
                "Tells some calls in detail for a while",
                of::<log::NewWatch>,
            ),
            of::<log::LogState>,
        ),
        MISSING,
    ),
    Operation { method: "delete", ..by(Role::Operator, read("/log/watches", "Ends every watch", of::<log::LogState>)) },
    read("/capture", "What is captured", of::<capture::CaptureState>),
    with(
        answered(
            write("put", "/capture", Role::Operator, "Captures something else", of::<capture::CaptureChange>),
            of::<capture::CaptureState>,
        ),
        &[],
    ),
    read("/session", "On the listener: who asks", of::<session::Session>),
    Operation {
        method: "post",
        role: None,
        body: Body::Json(of::<session::Login>),
        ..made(read("/session", "On the listener: logs in", of::<session::Session>))
    },
    Operation {
        method: "delete",
        status: 204,
        answer: Answer::None,
        ..read("/session", "On the listener: logs out", of::<()>)
    },
    read("/openapi.json", "This document", of::<Value>),
];
