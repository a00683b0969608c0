//! A simulation of rotations: secrets that change step by step, processes with copies of any age
//! and clocks that differ, and everything that they have issued.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use jiff::Timestamp;
use postern::{
    config::Lifetimes,
    core::{clock::Clock, entropy::Entropy, id},
    credential::{RefreshToken, SessionToken, TokenPrefix},
    crypto::{
        Keyring,
        jwk::JWKS_MAX_AGE,
        jwt::{self, HeaderRequirements, IssuedBy},
        key_list::{self, KeyState, ListedKey},
        key_rotation::{
            KeyRotation, RotationPlan,
            removal::DropKey,
            step::{PreparedVersion, RotationState, RotationStep, StepAction},
        },
        secrets::{SECRET_AGE, SECRET_RETRY, Secrets},
        sign::Algorithm,
    },
};
use proptest::prelude::*;
use serde_json::json;

const ALGORITHMS: [Algorithm; 1] = [Algorithm::ES256];
const BEGINNING_S: i64 = 1_767_225_600;
/// The clocks of the processes, in seconds ahead: they differ by less than the leeway.
const CLOCKS_S: [i64; 4] = [0, 14, -14, 7];
const DAY_S: i64 = 24 * 3600;

/// An event of a history.
#[derive(Clone, Debug)]
enum Event {
    /// Time passes.
    Pass(i64),
    /// The next write of a rotation, which begins one if none has begun. If `crashes`, the step does
    /// nothing more, and is repeated.
    Rotate { crashes: bool },
    /// The rotation is given up, unless the new secret is in force.
    Cancel,
    /// An operator drops a key that waits.
    DropWaiting { at: usize },
    /// A process signs an access token, grants a family or creates a session.
    Issue { process: usize },
    /// A process exchanges the refresh token of a family.
    Refresh { process: usize, family: usize },
    /// A process fails to read its secret, if it is to do so now.
    CannotRead { process: usize },
}

fn event() -> impl Strategy<Value = Event> {
    let process = || 0..CLOCKS_S.len();
    let pass = prop_oneof![
        Just(1),
        Just(29),
        Just(301),
        Just(1200),
        Just(DAY_S - 700),
        Just(DAY_S),
        Just(6 * DAY_S),
        Just(40 * DAY_S),
        1..600i64,
        1..3 * DAY_S,
    ];
    prop_oneof![
        6 => pass.prop_map(Event::Pass),
        6 => prop::bool::weighted(0.3).prop_map(|crashes| Event::Rotate { crashes }),
        1 => Just(Event::Cancel),
        2 => (0..4usize).prop_map(|at| Event::DropWaiting { at }),
        4 => process().prop_map(|process| Event::Issue { process }),
        4 => (process(), 0..8usize).prop_map(|(process, family)| Event::Refresh { process, family }),
        2 => process().prop_map(|process| Event::CannotRead { process }),
    ]
}

/// A process with a copy of a secret.
struct Process {
    keyring: Keyring,
    /// The number of the copy.
    version: usize,
    read_s: i64,
    good_for_s: i64,
}

struct Family {
    token: String,
    idle_s: i64,
    absolute_s: i64,
}

/// A rotation that has begun.
struct Begun {
    step: RotationStep,
    /// The writes of the step that are yet to be done.
    writes: VecDeque<Write>,
    prepared: Option<Secrets>,
    /// The number of the prepared version, once it is in force.
    version: Option<usize>,
}

/// A write of a step.
#[derive(Clone)]
enum Write {
    Prepared(Secrets),
    Public(Secrets),
    Verification(Secrets),
    InForce,
    Withdrawn,
}

fn copies(secrets: &Secrets) -> [Write; 2] {
    [Write::Public(secrets.clone()), Write::Verification(secrets.clone())]
}

struct Simulation {
    now_s: Arc<AtomicI64>,
    lifetimes: Lifetimes,
    plan: RotationPlan,
    /// All versions of the secret that were in force, and of its copies. The last one is.
    signing: Vec<Secrets>,
    verification: Vec<Secrets>,
    public: Vec<Secrets>,
    begun: Option<Begun>,
    /// The kids of the keys that were dropped.
    dropped: BTreeSet<String>,
    signers: Vec<Process>,
    verifiers: Vec<Process>,
    publishers: Vec<Process>,
    /// When each public key was first in the copy that is published.
    published_s: BTreeMap<String, i64>,
    tokens: Vec<(String, i64)>,
    families: Vec<Family>,
    sessions: Vec<(String, i64)>,
    rotations: usize,
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn brand() -> TokenPrefix {
    TokenPrefix::parse("pst").unwrap()
}

impl Simulation {
    fn new() -> Self {
        let now_s = Arc::new(AtomicI64::new(BEGINNING_S));
        let lifetimes = Lifetimes::default();
        let mut secrets = Secrets::default();
        let clock = Clock::from_fn(|| time(BEGINNING_S));
        secrets.generate_missing(&ALGORITHMS, &clock, &Entropy::system()).unwrap();
        let mut simulation = Self {
            plan: lifetimes.rotation_plan(),
            lifetimes,
            verification: vec![secrets.verification(&[])],
            public: vec![secrets.publication()],
            signing: vec![secrets],
            begun: None,
            dropped: BTreeSet::new(),
            signers: Vec::new(),
            verifiers: Vec::new(),
            publishers: Vec::new(),
            published_s: BTreeMap::new(),
            tokens: Vec::new(),
            families: Vec::new(),
            sessions: Vec::new(),
            rotations: 0,
            now_s,
        };
        // The first keys have always been published.
        simulation.note_published(i64::MIN / 2);
        for ahead_s in CLOCKS_S {
            let process = |secrets: &Secrets| simulation.start(secrets, ahead_s);
            let [signer, verifier, publisher] =
                [&simulation.signing[0], &simulation.verification[0], &simulation.public[0]]
                    .map(process);
            simulation.signers.push(signer);
            simulation.verifiers.push(verifier);
            simulation.publishers.push(publisher);
        }
        simulation
    }

    fn now(&self) -> i64 {
        self.now_s.load(Ordering::Relaxed)
    }

    fn clock(&self, ahead_s: i64) -> Clock {
        let now_s = Arc::clone(&self.now_s);
        Clock::from_fn(move || time(now_s.load(Ordering::Relaxed) + ahead_s))
    }

    fn start(&self, secrets: &Secrets, ahead_s: i64) -> Process {
        let keyring = Keyring::new(secrets, &ALGORITHMS, &self.clock(ahead_s)).unwrap();
        Process { keyring, version: 0, read_s: self.now(), good_for_s: SECRET_AGE.as_secs() }
    }

    fn note_published(&mut self, since_s: i64) {
        for key in &self.public.last().unwrap().signing_keys {
            self.published_s.entry(key.kid.clone()).or_insert(since_s);
        }
    }

    /// Lets every process read its secret that is to do so, as each does before a request.
    fn read_secrets(&mut self) {
        let now_s = self.now();
        let clocks = CLOCKS_S.map(|ahead_s| self.clock(ahead_s));
        for (processes, versions) in [
            (&mut self.signers, &self.signing),
            (&mut self.verifiers, &self.verification),
            (&mut self.publishers, &self.public),
        ] {
            for (process, clock) in processes.iter_mut().zip(&clocks) {
                if now_s < process.read_s + process.good_for_s {
                    continue;
                }
                if process.version + 1 != versions.len() {
                    let secrets = versions.last().unwrap();
                    process.keyring = Keyring::new(secrets, &ALGORITHMS, clock).unwrap();
                    process.version = versions.len() - 1;
                }
                (process.read_s, process.good_for_s) = (now_s, SECRET_AGE.as_secs());
            }
        }
    }

    /// Reports whether a new secret is in force, whose copies are to follow.
    fn is_in_force(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| begun.version.is_some())
    }

    /// Does the next write of a rotation.
    fn rotate(&mut self, crashes: bool) {
        let mut begun = self.begun.take().unwrap_or(Begun {
            step: RotationStep::Create,
            writes: VecDeque::new(),
            prepared: None,
            version: None,
        });
        if begun.writes.is_empty() {
            begun.writes = self.writes(&begun);
        }
        let is_withdrawn = match begun.writes.pop_front() {
            None => false,
            Some(write) => self.write(write, &mut begun),
        };
        let is_finished = begun.step == RotationStep::Finish && begun.writes.is_empty();
        if crashes {
            begun.writes.clear();
        } else if begun.writes.is_empty() {
            begun.step = match begun.step {
                RotationStep::Create => RotationStep::Set,
                RotationStep::Set => RotationStep::Test,
                RotationStep::Test | RotationStep::Finish => RotationStep::Finish,
            };
        }
        let has_ended = is_withdrawn || (is_finished && !crashes);
        self.begun = Some(begun).filter(|_| !has_ended);
        self.note_published(self.now());
    }

    /// Returns the writes of a step, as `rotate_signing_key` does them.
    fn writes(&self, begun: &Begun) -> VecDeque<Write> {
        let (clock, entropy) = (self.clock(0), Entropy::system());
        let current = self.signing.last().unwrap();
        let prepared = match (&begun.prepared, begun.version) {
            (None, _) => PreparedVersion::Missing,
            (Some(next), None) => PreparedVersion::Pending(next),
            (Some(_), Some(at)) if at + 1 == self.signing.len() => PreparedVersion::InForce,
            (Some(_), Some(_)) => PreparedVersion::Withdrawn,
        };
        let state = RotationState { current, prepared, staged: None };
        let next = begun.prepared.as_ref().unwrap_or(current);
        match self.rotation(&clock, &entropy).action(begun.step, &state).unwrap() {
            StepAction::Nothing | StepAction::Test(_) => VecDeque::new(),
            StepAction::Prepare(next) => [Write::Prepared(*next)].into(),
            StepAction::Announce(announced) => copies(&announced).into(),
            StepAction::PutInForce(_) => [Write::InForce].into_iter().chain(copies(next)).collect(),
            StepAction::Complete => copies(current).into(),
            StepAction::Stop(_) | StepAction::Withdraw(_) => {
                copies(current).into_iter().chain([Write::Withdrawn]).collect()
            }
        }
    }

    /// Returns whether the rotation is over because of the write.
    fn write(&mut self, write: Write, begun: &mut Begun) -> bool {
        match write {
            Write::Prepared(next) => begun.prepared = Some(next),
            Write::Public(secrets) => self.public.push(secrets.publication()),
            Write::Verification(secrets) => self.verification.push(secrets.verification(&[])),
            Write::InForce => {
                begun.version = Some(self.signing.len());
                self.signing.extend(begun.prepared.clone());
                self.rotations += 1;
            }
            Write::Withdrawn => return true,
        }
        false
    }

    /// Drops a key that waits, and with which no process can sign before it knows.
    fn drop_waiting(&mut self, at: usize) {
        let (clock, entropy, now_s) = (self.clock(0), Entropy::system(), self.now());
        let current = self.signing.last().unwrap();
        let safe = time(now_s + self.plan.least_lead.as_secs());
        let is_safe = |key: &ListedKey| {
            key.state == KeyState::Waiting && key.times.sign_from.is_some_and(|from| from > safe)
        };
        let waiting = key_list::list(current, time(now_s)).into_iter().filter(is_safe);
        let Some(key) = waiting.into_iter().nth(at) else { return };
        let name = key.kind.with_kid(&key.kid);
        let outcome = self.rotation(&clock, &entropy).drop_key(current, Some(&name), None);
        let DropKey::Dropped(next) = outcome.unwrap() else { panic!("{name} was not dropped") };
        self.public.push(next.publication());
        self.verification.push(next.verification(&[]));
        self.signing.push(*next);
        self.dropped.insert(name);
        if let Some(begun) = &mut self.begun {
            begun.writes.clear(); // the step reads the secret again
        }
    }

    fn rotation<'a>(&self, clock: &'a Clock, entropy: &'a Entropy) -> KeyRotation<'a> {
        KeyRotation { algorithms: ALGORITHMS.to_vec(), plan: self.plan, clock, entropy }
    }

    fn issue(&mut self, process: usize) {
        let (now_s, keyring) = (self.now(), &self.signers[process].keyring);
        let signed_at_s = now_s + CLOCKS_S[process];
        let expires_s = signed_at_s + self.lifetimes.access_token.as_secs();
        let key = keyring.signing_key(None).unwrap();
        let token = key.sign("at+jwt", &json!({"exp": expires_s})).unwrap();
        let kid = jwt_kid(&token);
        let settled_s = (JWKS_MAX_AGE + SECRET_AGE + SECRET_RETRY).as_secs();
        assert!(self.published_s[&kid] + settled_s <= now_s, "{kid} signs too soon");
        self.tokens.push((token, expires_s));

        let entropy = Entropy::system();
        let family = id::mint(time(now_s), &entropy).unwrap();
        let first = RefreshToken::first(family, keyring.current_refresh_kid().unwrap().clone());
        self.families.push(Family {
            token: first.encode(&brand(), keyring).unwrap().expose().to_owned(),
            idle_s: signed_at_s + self.lifetimes.refresh_idle.as_secs(),
            absolute_s: signed_at_s + self.lifetimes.refresh_absolute.as_secs(),
        });
        // Functions that do not sign tokens create sessions too.
        for keyring in [keyring, &self.verifiers[process].keyring] {
            let (session, user) = (id::mint(time(now_s), &entropy).unwrap(), "github|7".into());
            let (_, value) = SessionToken::mint(keyring, session, &user, &entropy).unwrap();
            let ends_s = signed_at_s + self.lifetimes.session_absolute.as_secs();
            self.sessions.push((value.expose().to_owned(), ends_s));
        }
    }

    fn refresh(&mut self, process: usize, family: usize) {
        let (keyring, now_s) = (&self.signers[process].keyring, self.now() + CLOCKS_S[process]);
        let Some(family) = self.families.get_mut(family) else { return };
        if now_s >= family.idle_s || now_s >= family.absolute_s {
            return;
        }
        let presented = RefreshToken::parse(&brand(), keyring, &family.token).unwrap();
        let successor = presented.successor(keyring.current_refresh_kid().unwrap().clone());
        family.token = successor.encode(&brand(), keyring).unwrap().expose().to_owned();
        family.idle_s = now_s + self.lifetimes.refresh_idle.as_secs();
    }

    /// Everything that has not expired is valid in every process that can be asked for it, and
    /// every verifier can fetch the key of a token.
    fn check(&self) {
        let expected = HeaderRequirements { types: &["at+jwt"], issued_by: IssuedBy::Postern };
        for (at, ahead_s) in CLOCKS_S.into_iter().enumerate() {
            let now_s = self.now() + ahead_s;
            let keyrings = [&self.signers[at].keyring, &self.verifiers[at].keyring];
            let published = self.publishers[at].keyring.jwks();
            for (token, _) in self.tokens.iter().filter(|(_, until_s)| now_s < *until_s) {
                for keyring in keyrings {
                    jwt::signed_payload(token, keyring.verifying_keys(), expected).unwrap();
                }
                let kid = jwt_kid(token);
                assert!(published.keys.iter().any(|key| key.kid == kid), "{kid} is not published");
            }
            let is_alive = |family: &&Family| now_s < family.idle_s && now_s < family.absolute_s;
            for family in self.families.iter().filter(is_alive) {
                RefreshToken::parse(&brand(), keyrings[0], &family.token).unwrap();
            }
            for (session, _) in self.sessions.iter().filter(|(_, until_s)| now_s < *until_s) {
                for keyring in keyrings {
                    SessionToken::parse(keyring, session).unwrap();
                }
            }
            let is_retired = |kid: &str| {
                let known = self.public[self.publishers[at].version].signing_keys.iter();
                let mut times = known.filter(|key| key.kid == kid).map(|key| key.times());
                times.any(|times| !times.verifies(time(now_s)))
            };
            assert!(!published.keys.iter().any(|key| is_retired(&key.kid)), "a retired key");
        }
        for secrets in
            [&self.signing, &self.verification, &self.public].map(|all| &all[all.len() - 1..])
        {
            let listed = key_list::list(&secrets[0], time(self.now()));
            let mut names = listed.iter().map(|key| key.kind.with_kid(&key.kid));
            assert!(!names.any(|name| self.dropped.contains(&name)), "a key that was dropped");
        }
    }

    fn follow(&mut self, history: &[Event]) {
        for event in history {
            self.read_secrets();
            match event {
                Event::Pass(seconds) => {
                    let longest = if self.is_in_force() { DAY_S } else { i64::MAX };
                    self.now_s.fetch_add(longest.min(*seconds), Ordering::Relaxed);
                }
                Event::Rotate { crashes } => self.rotate(*crashes),
                Event::Cancel if self.is_in_force() => {}
                Event::Cancel => self.begun = None,
                Event::DropWaiting { at } => self.drop_waiting(*at),
                Event::Issue { process } => self.issue(*process),
                Event::Refresh { process, family } => self.refresh(*process, *family),
                Event::CannotRead { process } => {
                    let good_for_s = (SECRET_AGE + SECRET_RETRY).as_secs();
                    for processes in [&mut self.signers, &mut self.verifiers, &mut self.publishers]
                    {
                        processes[*process].good_for_s = good_for_s;
                    }
                }
            }
            self.read_secrets();
            self.check();
        }
    }
}

fn jwt_kid(token: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_rotation_ends_anything_early(history in prop::collection::vec(event(), 1..80)) {
        Simulation::new().follow(&history);
    }
}

/// A rotation as soon as the last one allows it, for a season: the simulation above is not empty.
#[test]
fn keys_can_be_rotated_every_other_day_for_a_season() {
    let mut simulation = Simulation::new();
    for day in 0..100 {
        let mut history = vec![Event::Issue { process: day % 4 }, Event::Pass(DAY_S)];
        history.extend((0..8).map(|family| Event::Refresh { process: day % 3, family }));
        history.extend([Event::Rotate { crashes: day % 5 == 0 }, Event::Pass(17)]);
        simulation.follow(&history);
        while simulation.begun.is_some() {
            simulation.follow(&[Event::Rotate { crashes: false }]);
        }
        simulation.tokens.clear();
        simulation.sessions.truncate(40);
        simulation.families.truncate(40);
    }
    assert!(simulation.rotations > 90, "{}", simulation.rotations);
    let last = simulation.signing.last().unwrap();
    assert!(last.signing_keys.len() <= 3, "{}", last.signing_keys.len());
}
