use super::*;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(20);

/// A prober whose worker is this test.
struct Bench {
    peers: Peers,
    commands: mpsc::Receiver<Command>,
    heard: mpsc::Sender<Heard>,
    folder: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

impl Bench {
    fn new() -> Bench {
        Bench::within(tempfile::tempdir().unwrap())
    }

    fn within(folder: tempfile::TempDir) -> Bench {
        let text = "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n[[trunk]]\nname = \"tata\"\n\
                    gateways = [\"udp:127.0.0.2:5060\"]\n[environments.prod]\ntargets = [\"udp:127.0.0.3:5070\"]\n\
                    [probe]\ninterval = \"100ms\"\ntimeout = \"100ms\"\n";
        let configuration = crate::config::read("test", text, &|_| None).unwrap();
        let (commands, ordered) = mpsc::channel(COMMANDS);
        let (heard, hears) = mpsc::channel(HEARD);
        let parts = Parts {
            settings: Arc::new(ArcSwap::from_pointee(configuration.core)),
            probe: configuration.probe,
            commands: Crew::of(vec![commands]),
            heard: hears,
            clock: Clock::start(),
            names: Arc::default(),
        };
        let (peers, running) = start(parts, folder.path());
        Bench { peers, commands: ordered, heard, folder, task: tokio::spawn(running) }
    }

    /// Answers the gateway's probes and no other, until the states are told; the number of probes beside.
    async fn states(&mut self, asked: &AtomicU32) -> Arc<States> {
        loop {
            match timeout(LONG, self.commands.recv()).await.unwrap().unwrap() {
                Command::States(states) => return states,
                Command::Send(messages) => {
                    for (flow, bytes) in messages {
                        asked.fetch_add(1, Ordering::Relaxed);
                        let text = String::from_utf8(bytes).unwrap();
                        let branch = text.split("branch=").nth(1).unwrap().split(';').next().unwrap();
                        if flow.remote.port() == 5060 {
                            let branch = branch.as_bytes().into();
                            let heard = Heard::Answered { branch, remote: flow.remote, status: 200 };
                            self.heard.send(heard).await.unwrap();
                        }
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

const COMMANDS: usize = 16;

fn by() -> By {
    By::new("asha", "new cable")
}

/// Row W1: the worker is told who is down, and `peer list` says why.
#[tokio::test]
async fn w1_a_dead_target_is_told_to_the_worker_with_its_evidence() {
    let mut bench = Bench::new();
    let asked = AtomicU32::new(0);
    let down = |peers: &[PeerStatus]| peers.iter().any(|peer| peer.health == "down");
    while !down(&bench.peers.list()) {
        bench.states(&asked).await;
    }
    assert!(asked.load(Ordering::Relaxed) >= 4);
    let peers = bench.peers.list();
    let standing: Vec<(&str, &str)> = peers.iter().map(|peer| (&*peer.peer, &*peer.standing)).collect();
    assert_eq!(standing, [("udp:127.0.0.2:5060", "usable"), ("udp:127.0.0.3:5070", "down")]);
    assert_eq!(peers[1].evidence, "3 probes missed in a row");
    bench.task.abort();
}

#[tokio::test]
async fn a_decision_is_live_when_it_is_answered_and_holds_over_a_restart() {
    let mut bench = Bench::new();
    let asked = AtomicU32::new(0);
    let peers = bench.peers.clone();
    let set = tokio::spawn(async move { peers.set("udp:127.0.0.2:5060", Admin::Drain, &by()).await });
    timeout(LONG, async {
        while bench.peers.list().iter().all(|peer| peer.admin != "drain") {
            bench.states(&asked).await;
        }
    })
    .await
    .unwrap();
    let about = set.await.unwrap().unwrap();
    assert_eq!(
        about.iter().map(|peer| (&*peer.peer, &*peer.admin)).collect::<Vec<_>>(),
        [("udp:127.0.0.2:5060", "drain")]
    );
    let unknown = bench.peers.set("udp:127.0.0.9:5060", Admin::Drain, &by()).await;
    assert!(matches!(unknown, Err(SetFault::Unknown(_))), "{unknown:?}");
    bench.task.abort();
    let mut next = Bench::within(bench.folder);
    next.states(&asked).await;
    let peer = next.peers.list().remove(0);
    let told = (&*peer.admin, &*peer.reason, &*peer.set_by, &*peer.standing);
    assert_eq!(told, ("drain", "new cable", "asha", "closed"));
    next.task.abort();
}
