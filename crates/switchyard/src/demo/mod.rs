//! `switchyard demo`: the real proxy between a simulated gateway and three simulated PBXs, on loopback.
//!
//! `stage` builds it, `scene` says which calls are placed and what must become of them, `party` and `call` speak SIP,
//! `ladder` draws what the parties saw. What is shown is what happened: decisions come from the proxy's own events,
//! ladders from the messages that arrived. `smoke` places one such call through a proxy that runs elsewhere.

mod call;
mod ladder;
mod message;
mod party;
mod scene;
pub(crate) mod smoke;
mod stage;

pub use scene::{Expected, ROUND, Scene};

use crate::signals::Signals;
use crate::worker::Seen;
use call::Outcome as CallOutcome;
use ladder::Ladder;
use proxy::{Decision, Outcome};
use stage::Stage;
use std::collections::HashMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The pace of the flow.
const ONE_CALL_EVERY: Duration = Duration::from_secs(1);
/// How many calls pass between two moves of a DID.
const CALLS_PER_MOVE: usize = 6;
/// How long a change in the database may take to be published.
const PUBLISH_WITHIN: Duration = Duration::from_secs(5);
/// How long a fact that the proxy has sent already may take to get here.
const FACT_WITHIN: Duration = Duration::from_secs(2);

/// How the demonstration runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// End after the first round, with exit code 0 if every call did what it had to, else 1.
    pub once: bool,
}

/// One call that was placed, with everything that is known of it.
#[derive(Debug)]
pub struct Shown {
    /// What was placed and expected.
    pub scene: Scene,
    /// The final status that the caller saw.
    pub status: Option<u16>,
    /// The parties that the call reached.
    pub reached: Vec<&'static str>,
    /// The rules that the proxy tried, in words.
    pub told: Vec<String>,
    /// What is not as it must be; empty when all is well.
    pub wrong: Vec<String>,
}

/// Runs the demonstration until its round is over, or until Ctrl-C.
pub fn demo(options: Options) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let shown = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(perform(options, &mut io::stdout().lock())));
    match shown {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            // With nobody to read it, the exit code says it alone.
            let _written = writeln!(io::stderr(), "the demonstration failed: {fault:#}");
            ExitCode::FAILURE
        }
    }
}

/// Places every call of [`ROUND`] on a stage of its own and shows it on `out`.
pub async fn round(out: &mut impl Write) -> anyhow::Result<Vec<Shown>> {
    let mut show = Show { stage: Stage::build().await?, facts: HashMap::new(), is_good: true };
    let shown = show.round(out).await;
    show.stage.clear().await?;
    shown
}

/// True when everything that was shown is as it must be.
async fn perform(options: Options, out: &mut impl Write) -> anyhow::Result<bool> {
    let mut show = Show { stage: Stage::build().await?, facts: HashMap::new(), is_good: true };
    // From here on Ctrl-C does not end the process before its files are removed.
    let mut signals = Signals::new()?;
    let performed = tokio::select! {
        performed = show.perform(options, out) => performed,
        _ = signals.next() => Ok(()),
    };
    let is_good = show.is_good;
    let open = show.stage.service.open_transactions();
    show.stage.clear().await?;
    if !options.once {
        writeln!(out, "\nEnded, {open} transactions were still lingering; every file is removed.")?;
    }
    performed.map(|()| is_good)
}

/// The stage with what the proxy has said about the calls on it.
struct Show {
    stage: Stage,
    facts: HashMap<Box<[u8]>, Facts>,
    /// False once a call did what it must not.
    is_good: bool,
}

/// What the proxy said about one call.
#[derive(Default)]
struct Facts {
    decision: Option<Box<Decision>>,
    has_final: bool,
}

impl Facts {
    /// True when nothing more will be said: a refusal is the proxy's own answer, a forwarded call has an end.
    fn is_whole(&self) -> bool {
        let outcome = self.decision.as_ref().map(|decision| decision.outcome);
        self.has_final && outcome.is_some() || matches!(outcome, Some(Outcome::Refuse(_)))
    }
}

impl Show {
    async fn perform(&mut self, options: Options, out: &mut impl Write) -> anyhow::Result<()> {
        self.introduce(out)?;
        let shown = self.round(out).await?;
        let bad = shown.iter().filter(|shown| !shown.wrong.is_empty()).count();
        let good = shown.len() - bad;
        writeln!(out, "{good} of {} calls did what they had to.", shown.len())?;
        if options.once {
            return Ok(());
        }
        self.invite_sipp(out)?;
        self.flow(out).await
    }

    fn introduce(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "switchyard {} on loopback, every party with an address of its own:\n",
            env!("CARGO_PKG_VERSION")
        )?;
        let line =
            |name: &str, address: SocketAddr, what: &str| format!("  {name:<12}udp:{:<18}{what}", address.to_string());
        writeln!(
            out,
            "{}",
            line("switchyard", self.stage.proxy, &format!("the real proxy, with {} DIDs", self.dids()))
        )?;
        for party in &self.stage.parties {
            writeln!(out, "{}", line(party.name, party.local, "simulated"))?;
        }
        writeln!(out, "\n  what it counts: http://{}/metrics\n", self.stage.metrics)
    }

    fn dids(&self) -> usize {
        self.stage.service.watcher().status().did_count
    }

    async fn round(&mut self, out: &mut impl Write) -> anyhow::Result<Vec<Shown>> {
        let mut all = Vec::new();
        for (number, scene) in (1..).zip(ROUND) {
            let (shown, ladder, outcome) = self.place(scene).await?;
            let Scene { shows, caller, called, .. } = scene;
            writeln!(out, "{number:>2}. {caller} calls {called}: {shows}")?;
            for line in &shown.told {
                writeln!(out, "      - {line}")?;
            }
            writeln!(out)?;
            for line in ladder.to_string().lines() {
                writeln!(out, "    {}", line.trim_end())?;
            }
            writeln!(out, "\n    {}\n", shown.verdict(&outcome))?;
            all.push(shown);
        }
        Ok(all)
    }

    /// One call a second, and a DID that moves now and then. Ends only with a failure of the stage.
    async fn flow(&mut self, out: &mut impl Write) -> anyhow::Result<()> {
        let mut every = tokio::time::interval(ONE_CALL_EVERY);
        let mut moves = scene::MOVES.iter().cycle();
        for count in 1_usize.. {
            every.tick().await;
            let scene = if count % CALLS_PER_MOVE == 0 {
                let Some((environment, statement)) = moves.next() else { break };
                self.move_did(environment, statement, out).await?;
                scene::to_moving(environment)
            } else {
                ROUND.iter().cycle().nth(count).copied().unwrap_or(scene::to_moving("staging"))
            };
            let (shown, _, outcome) = self.place(scene).await?;
            writeln!(out, "{:>6}. {} calls {}: {}", count, scene.caller, scene.called, shown.verdict(&outcome))?;
            out.flush()?;
        }
        Ok(())
    }

    /// Moves a DID as an operator would: in the database, and nowhere else.
    async fn move_did(&self, to: &str, statement: &'static str, out: &mut impl Write) -> anyhow::Result<()> {
        let mut generations = self.stage.service.watcher().published().subscribe();
        let before = generations.borrow_and_update().0;
        let moved = Instant::now();
        self.stage.change(statement).await?;
        let published = tokio::time::timeout(PUBLISH_WITHIN, generations.wait_for(|now| now.0 > before)).await;
        let generation = published.map_err(|_| anyhow::anyhow!("a change in the database was not seen"))??.0;
        let after_ms = moved.elapsed().as_millis();
        let did = scene::MOVING;
        writeln!(
            out,
            "        {did} moves to {to} in the database: in force as generation {generation} after {after_ms} ms"
        )?;
        Ok(())
    }

    async fn place(&mut self, scene: Scene) -> anyhow::Result<(Shown, Ladder, CallOutcome)> {
        let outcome = call::place(self.stage.party(scene.caller)?, scene.from, scene.called, scene.wish()).await;
        let facts = self.facts_of(outcome.call_id.as_bytes()).await;
        let ladder = self.stage.sightings.ladder(scene.caller, &outcome.call_id);
        let reached = ladder.reached();
        let (party, status) = scene.expected.facts();
        let mut wrong = Vec::new();
        if outcome.status != Some(status) {
            wrong.push(format!("expected {status}, the caller saw {}", status_text(outcome.status)));
        }
        if reached != party.into_iter().collect::<Vec<_>>() {
            wrong.push(format!("expected to reach {}, reached {}", party.unwrap_or("nobody"), names(&reached)));
        }
        if !outcome.is_closed {
            wrong.push("the call was not closed by both sides".to_owned());
        }
        let steps = facts.decision.iter().flat_map(|decision| decision.trace.steps());
        let told: Vec<String> = steps.map(|step| step.told(&self.stage.settings).to_string()).collect();
        if told.is_empty() {
            wrong.push("the proxy told no decision".to_owned());
        }
        self.is_good &= wrong.is_empty();
        let shown = Shown { scene, status: outcome.status, reached, told, wrong };
        Ok((shown, ladder, outcome))
    }

    /// What the proxy has said about a call: the decision, once its end is known too.
    async fn facts_of(&mut self, call_id: &[u8]) -> Facts {
        let deadline = Instant::now() + FACT_WITHIN;
        let mut pause = tokio::time::interval(Duration::from_millis(1));
        loop {
            while let Ok(seen) = self.stage.seen.try_recv() {
                match seen {
                    Seen::Decided { call_id, decision, .. } => {
                        self.facts.entry(call_id).or_default().decision = Some(decision);
                    }
                    Seen::Final { call_id, .. } => self.facts.entry(call_id).or_default().has_final = true,
                }
            }
            if self.facts.get(call_id).is_some_and(Facts::is_whole) || Instant::now() >= deadline {
                let facts = self.facts.remove(call_id).unwrap_or_default();
                // Calls that others placed on this stage, SIPp for one, are theirs to follow.
                self.facts.clear();
                return facts;
            }
            pause.tick().await;
        }
    }

    fn invite_sipp(&self, out: &mut impl Write) -> io::Result<()> {
        let (proxy, folder) = (self.stage.proxy, self.stage.file(""));
        let folder = folder.display();
        let gateway = self.stage.party("gateway").map_or_else(|_| proxy.ip(), |party| party.local.ip());
        writeln!(
            out,
            "\nNow one call a second, and a DID that moves between environments. Ctrl-C ends it.\n\n\
             Join in from another terminal:\n\
             \u{20} sipp -sf {folder}call.xml -i {gateway} -p 5065 -s 918065978000 -m 10 -r 2 {proxy}\n\
             \u{20} switchyard status --config {folder}switchyard.toml\n\
             \u{20} switchyard explain --config {folder}switchyard.toml --from {gateway} +918065978021\n"
        )
    }
}

impl Shown {
    fn verdict(&self, outcome: &CallOutcome) -> String {
        let after_ms = outcome.after.as_secs_f64() * 1_000.0;
        let status = status_text(outcome.status);
        let reached = names(&self.reached);
        let fact = match self.scene.expected {
            Expected::Answered(_) => format!("answered by {reached} with {status} after {after_ms:.1} ms, and hung up"),
            Expected::HeardOut(_) => {
                format!("answered by {reached} with {status} after {after_ms:.1} ms, heard out to the end")
            }
            Expected::GivenUp(_) => format!("rang at {reached}, ended with {status} after {after_ms:.1} ms"),
            Expected::Refused(_) => format!("refused with {status} after {after_ms:.1} ms, reached {reached}"),
        };
        if self.wrong.is_empty() { format!("ok: {fact}") } else { format!("WRONG: {fact}; {}", self.wrong.join("; ")) }
    }
}

fn status_text(status: Option<u16>) -> String {
    status.map_or_else(|| "no final response".to_owned(), |status| status.to_string())
}

fn names(parties: &[&str]) -> String {
    if parties.is_empty() { "nobody".to_owned() } else { parties.join(" and ") }
}
