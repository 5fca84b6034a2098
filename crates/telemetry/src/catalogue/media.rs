//! What is measured of media that does not pass here.

use super::{Family, counter};

/// Media addresses outside a party's networks.
pub static STRAY_MEDIA: Family = Family {
    by_party: true,
    ..counter(
        "switchyard_stray_media_total",
        "",
        &[],
        "Messages whose SDP named a media address outside the networks of the party that sent them: one-way audio.",
    )
};
