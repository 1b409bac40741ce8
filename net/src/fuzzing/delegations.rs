//! Certificates: as they arrive, and with a signature of their owner over arbitrary bytes.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use twolane_id::{
    Delegation, DelegationError, PublicKey, RevocationList, SecretKey,
    delegation::{CONTEXT, Revocation},
};

/// The key that signs the fuzzer's inputs, because the fuzzer cannot find a signature by trying.
static OWNER: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::from_bytes(&[1; 32]));

/// Offset of the owner's key, which follows the version at the start.
const OWNER_AT: usize = 1;
const OWNER_END: usize = OWNER_AT + PublicKey::LENGTH;

/// Parses the bytes as a certificate, as the text of one, and as a certificate that its owner has signed.
pub fn delegation(data: &[u8]) {
    check(data);
    if let Ok(text) = str::from_utf8(data)
        && let Ok(delegation) = text.parse::<Delegation>()
    {
        assert_eq!(delegation.to_string(), text.to_ascii_lowercase(), "a certificate has one text");
        check(delegation.as_bytes());
    }
    check(&signed(data));
}

/// Returns `body` as a certificate that the owner has signed: everything except the owner's key and the signature is
/// unchanged.
pub(super) fn signed(body: &[u8]) -> Vec<u8> {
    let mut signed = [CONTEXT, body].concat();
    if let Some(owner) = signed.get_mut(CONTEXT.len() + OWNER_AT..CONTEXT.len() + OWNER_END) {
        owner.copy_from_slice(OWNER.public_key().as_bytes());
    }
    let signature = OWNER.sign_raw(&signed);
    let mut bytes = signed.split_off(CONTEXT.len());
    bytes.extend(signature.to_bytes());
    bytes
}

fn check(bytes: &[u8]) {
    let delegation = match Delegation::from_bytes(bytes) {
        Ok(delegation) => delegation,
        Err(error) => return check_error(bytes, &error),
    };
    assert_eq!(delegation.as_bytes(), bytes);
    assert!(bytes.len() <= Delegation::MAX_LEN);
    assert!((1..=Delegation::MAX_SCOPE).contains(&delegation.scope().len()));
    assert!(delegation.audience().len() <= Delegation::MAX_AUDIENCE);
    assert_ne!(delegation.owner(), delegation.node());
    assert_eq!(delegation.to_string().parse::<Delegation>().as_ref(), Ok(&delegation));
    check_canonical(&delegation);
    check_circumstances(&delegation);
    // With a byte removed or added it is not a certificate.
    assert!(Delegation::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    assert!(Delegation::from_bytes(&[bytes, &[0]].concat()).is_err());
}

fn check_error(bytes: &[u8], error: &DelegationError) {
    assert!(!error.to_string().is_empty());
    match error {
        DelegationError::TooLong { len, max } => assert!(*len == bytes.len() && len > max),
        DelegationError::Truncated { found, .. } => assert_eq!(*found, bytes.len()),
        DelegationError::Version { found } => assert_eq!(bytes.first(), Some(found)),
        DelegationError::NotCanonical { .. }
        | DelegationError::BadKey { .. }
        | DelegationError::OwnerIsNode { .. }
        | DelegationError::BadSignature { .. } => {}
        other => panic!("no error of reading: {other}"),
    }
}

/// Checks that the same claims, signed again, give the same bytes: there is one encoding, and it contains nothing
/// except the claims.
fn check_canonical(delegation: &Delegation) {
    if delegation.owner() != OWNER.public_key() {
        return;
    }
    let builder = Delegation::build(delegation.node())
        .scopes(delegation.scope().iter().cloned())
        .not_before(delegation.not_before())
        .expires(delegation.expires())
        .serial(delegation.serial());
    let builder = delegation.audience().iter().fold(builder, |builder, peer| builder.audience(*peer));
    let again = builder.sign(&OWNER).expect("what was read can be issued");
    assert_eq!(again.as_bytes(), delegation.as_bytes());
}

/// Checks that the certificate is valid from its first second to its last, for its node, towards its audience, and
/// for the protocols that its patterns cover.
fn check_circumstances(delegation: &Delegation) {
    let (begin, end, second) = (delegation.not_before(), delegation.expires(), Duration::from_secs(1));
    let audience = delegation.audience().first().copied().unwrap_or_else(|| delegation.owner());
    let at = |now| twolane_id::Presented { now, skew: Duration::ZERO, node: delegation.node(), audience };
    assert_eq!(delegation.verify(&at(begin)), Ok(()));
    assert_eq!(delegation.verify(&at(end - second)), Ok(()));
    assert!(matches!(delegation.verify(&at(end)), Err(DelegationError::Expired { .. })));
    if begin > SystemTime::UNIX_EPOCH {
        let early = delegation.verify(&at(begin - second));
        assert!(matches!(early, Err(DelegationError::NotYetValid { .. })), "{early:?}");
    }
    let stranger = twolane_id::Presented { node: delegation.owner(), ..at(begin) };
    assert!(matches!(delegation.verify(&stranger), Err(DelegationError::WrongNode { .. })));
    if !delegation.audience().is_empty() && !delegation.audience().contains(&delegation.node()) {
        let elsewhere = twolane_id::Presented { audience: delegation.node(), ..at(begin) };
        assert!(matches!(delegation.verify(&elsewhere), Err(DelegationError::WrongAudience { .. })));
    }
    for pattern in delegation.scope() {
        let beginning = pattern.as_str().trim_end_matches('*');
        assert!(delegation.permits(beginning));
        if pattern.as_str().ends_with('*') {
            assert!(delegation.permits(&format!("{beginning}anything/1")));
        }
    }
    let mut revoked = RevocationList::new();
    assert_eq!(revoked.check(delegation), Ok(()));
    revoked.insert(delegation.owner(), delegation.serial());
    assert!(revoked.check(delegation).is_err());
    let (owner, node) = (delegation.owner(), delegation.node());
    for (revocation, holds) in [
        (Revocation::Node { owner, node }, false),
        (Revocation::Node { owner: node, node: owner }, true),
        (Revocation::Before { owner, time: begin }, true),
        (Revocation::Before { owner, time: end }, false),
        (Revocation::Before { owner: node, time: end }, true),
    ] {
        let revoked = RevocationList::from_iter([revocation]);
        assert_eq!(revoked.check(delegation).is_ok(), holds, "{revocation}");
        assert_eq!(revoked.to_string().parse(), Ok(revoked));
    }
}
