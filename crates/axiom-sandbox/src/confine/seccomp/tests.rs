use std::collections::BTreeMap;

use proptest::prelude::*;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use super::assembly::{AND, LOAD, RETURN};
use super::*;

#[test]
fn both_profiles_are_short() {
    for profile in [Profile::Ordinary, Profile::Compute] {
        let program = program(profile).unwrap();
        assert!(
            (100..160).contains(&program.len()),
            "{} instructions",
            program.len()
        );
    }
}

/// What the kernel shows a filter.
#[derive(Debug, Clone)]
struct Call {
    architecture: u32,
    number: u32,
    arguments: [u64; 6],
}

/// Runs a program as the kernel would.
fn answer(program: &[sock_filter], call: &Call) -> u32 {
    let (mut at, mut value) = (0, 0_u32);
    loop {
        let next = program.get(at).expect("it ends before its end");
        let jump = |taken| usize::from(if taken { next.jt } else { next.jf });
        at += 1;
        match next.code {
            LOAD => value = word(call, next.k),
            AND => value &= next.k,
            RETURN => return next.k,
            JUMP_ALWAYS => at += usize::try_from(next.k).unwrap(),
            JUMP_IF_EQUAL => at += jump(value == next.k),
            JUMP_IF_AT_LEAST => at += jump(value >= next.k),
            JUMP_IF_ANY_BIT => at += jump(value & next.k != 0),
            JUMP_IF_MORE => at += jump(value > next.k),
            other => panic!("no code {other}"),
        }
    }
}

const JUMP_ALWAYS: u16 = 0x05;
const JUMP_IF_MORE: u16 = 0x25;

fn word(call: &Call, at: u32) -> u32 {
    let arguments = call.arguments.iter().flat_map(|argument| argument.to_le_bytes());
    let mut bytes = Vec::new();
    bytes.extend(call.number.to_le_bytes());
    bytes.extend(call.architecture.to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(arguments);
    let at = usize::try_from(at).unwrap();
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The same rules as another author's compiler puts them, one after the other.
fn model(profile: Profile) -> BpfProgram {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = COMMON
        .iter()
        .chain(&OLD)
        .map(|number| (*number, Vec::new()))
        .collect();
    if profile == Profile::Compute {
        rules.insert(libc::SYS_socket, Vec::new());
        rules.insert(libc::SYS_socketpair, Vec::new());
    } else {
        rules.insert(libc::SYS_socket, socket_rules().unwrap());
    }
    rules.insert(libc::SYS_clone, namespace_rules(&NAMESPACES).unwrap());
    let with_time: Vec<u32> = NAMESPACES.iter().copied().chain([NEW_TIME]).collect();
    rules.insert(libc::SYS_unshare, namespace_rules(&with_time).unwrap());
    rules.insert(libc::SYS_ioctl, ioctl_rules().unwrap());
    rules.insert(libc::SYS_personality, personality_rules().unwrap());
    let denial = SeccompAction::Errno(Errno::PERM.raw_os_error().unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, denial, ARCHITECTURE).unwrap();
    filter.try_into().unwrap()
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: TargetArch = TargetArch::aarch64;
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE_OURS: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE_OURS: u32 = 0xc000_00b7;

static MODELS: LazyLock<[(Profile, BpfProgram); 2]> =
    LazyLock::new(|| [Profile::Ordinary, Profile::Compute].map(|profile| (profile, model(profile))));

fn answers(call: &Call) -> [(u32, u32); 2] {
    MODELS.each_ref().map(|(profile, model)| {
        let model: Vec<sock_filter> = model
            .iter()
            .map(|one| sock_filter {
                code: one.code,
                jt: one.jt,
                jf: one.jf,
                k: one.k,
            })
            .collect();
        (answer(program(*profile).unwrap(), call), answer(&model, call))
    })
}

/// Every call that there is, and some that there may be, without arguments.
#[test]
fn it_denies_the_calls_that_are_listed() {
    for number in (0..1024).filter(|number| *number != 435) {
        let call = Call {
            architecture: ARCHITECTURE_OURS,
            number,
            arguments: [0; 6],
        };
        for (ours, models) in answers(&call) {
            assert_eq!(ours, models, "{call:?}");
        }
    }
}

#[test]
fn what_stands_in_front_comes_first() {
    let call = |architecture, number| Call {
        architecture,
        number,
        arguments: [0; 6],
    };
    for profile in [Profile::Ordinary, Profile::Compute] {
        let program = program(profile).unwrap();
        assert_eq!(answer(program, &call(0x4000_0003, 0)), KILL_PROCESS);
        assert_eq!(
            answer(program, &call(ARCHITECTURE_OURS, 0x4000_0000)),
            KILL_PROCESS
        );
        assert_eq!(answer(program, &call(ARCHITECTURE_OURS, u32::MAX)), KILL_PROCESS);
        let unknown = FAIL_WITH | Errno::NOSYS.raw_os_error().unsigned_abs();
        assert_eq!(answer(program, &call(ARCHITECTURE_OURS, 435)), unknown);
    }
}

/// Near what the rules speak of, and far from it.
fn value() -> impl Strategy<Value = u64> {
    let bit = (0..64_u32).prop_map(|bit| 1_u64 << bit);
    let low = prop_oneof![
        0..48_u64,
        0x5410..0x5420_u64,
        Just(0xffff_ffff),
        Just(0x2_0000),
        Just(0x2_0008),
        bit,
        any::<u64>(),
    ];
    (low, prop_oneof![Just(0), 0..4_u64]).prop_map(|(low, high)| low | high << 32)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn it_denies_as_the_model_does(
        which in 0..5_usize,
        other in 0..470_u32,
        is_other in prop::bool::weighted(0.1),
        arguments in prop::array::uniform6(value()),
    ) {
        let ours = [libc::SYS_socket, libc::SYS_clone, libc::SYS_unshare, libc::SYS_ioctl, libc::SYS_personality];
        let number = if is_other && other != 435 { other } else { number(ours[which]) };
        let call = Call { architecture: ARCHITECTURE_OURS, number, arguments };
        for (ours, models) in answers(&call) {
            prop_assert_eq!(ours, models);
        }
    }
}

fn namespace_rules(flags: &[u32]) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let is_set = |flag: &u32| {
        SeccompRule::new(vec![argument(
            0,
            SeccompCmpOp::MaskedEq(u64::from(*flag)),
            u64::from(*flag),
        )?])
    };
    flags.iter().map(is_set).collect()
}

/// Unix, IPv4, IPv6 and the kernel's routing table; and of those nothing below TCP and UDP.
fn socket_rules() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    const FAMILY: u8 = 0;
    const KIND: u8 = 1;
    const PROTOCOL: u8 = 2;
    /// The rest of the argument is flags.
    const KIND_MASK: u64 = 0xf;
    const RAW: u64 = 3;
    const PACKET: u64 = 10;
    const NETLINK: u64 = 16;
    const ROUTE: u64 = 0;
    let [unix, ipv4, ipv6] = [1, 2, 10];
    let is_not = |family| argument(FAMILY, SeccompCmpOp::Ne, family);
    let is_kind = |kind| argument(KIND, SeccompCmpOp::MaskedEq(KIND_MASK), kind);
    Ok(vec![
        SeccompRule::new(vec![
            is_not(unix)?,
            is_not(ipv4)?,
            is_not(ipv6)?,
            is_not(NETLINK)?,
        ])?,
        SeccompRule::new(vec![
            argument(FAMILY, SeccompCmpOp::Eq, NETLINK)?,
            argument(PROTOCOL, SeccompCmpOp::Ne, ROUTE)?,
        ])?,
        SeccompRule::new(vec![is_not(NETLINK)?, is_not(unix)?, is_kind(RAW)?])?,
        SeccompRule::new(vec![is_not(NETLINK)?, is_kind(PACKET)?])?,
    ])
}

/// Typing into a terminal on behalf of whoever reads it.
fn ioctl_rules() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    const TIOCSTI: u64 = 0x5412;
    const TIOCLINUX: u64 = 0x541c;
    let is = |request| SeccompRule::new(vec![argument(1, SeccompCmpOp::Eq, request)?]);
    [TIOCSTI, TIOCLINUX].into_iter().map(is).collect()
}

/// Linux as it is, or as it was, of 32 or 64 bits; or the question which one it is.
fn personality_rules() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let ordinary = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
    let others = ordinary.map(|value| argument(0, SeccompCmpOp::Ne, value));
    Ok(vec![SeccompRule::new(
        others.into_iter().collect::<Result<_, _>>()?,
    )?])
}

/// The kernel takes 32 bits of these arguments, so the filter looks at no more: the others could be anything.
fn argument(
    index: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
}
