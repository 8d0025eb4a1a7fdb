//! Every way through the dialects at the URL of a tus upload.

use crate::case::{Case, case};

use super::{PLAIN, RANGED, TUS, at_files};

pub(super) const CASES: &[Case] = &[
    case!(["DIA-31"], "tus URL: plain PUT > plain PUT > plain PUT", at_files::<PLAIN, PLAIN, PLAIN>),
    case!(["DIA-32"], "tus URL: plain PUT > plain PUT > ranged PUT", at_files::<PLAIN, PLAIN, RANGED>),
    case!(["DIA-33"], "tus URL: plain PUT > plain PUT > tus PATCH", at_files::<PLAIN, PLAIN, TUS>),
    case!(["DIA-34"], "tus URL: plain PUT > ranged PUT > plain PUT", at_files::<PLAIN, RANGED, PLAIN>),
    case!(["DIA-35"], "tus URL: plain PUT > ranged PUT > ranged PUT", at_files::<PLAIN, RANGED, RANGED>),
    case!(["DIA-36"], "tus URL: plain PUT > ranged PUT > tus PATCH", at_files::<PLAIN, RANGED, TUS>),
    case!(["DIA-37"], "tus URL: plain PUT > tus PATCH > plain PUT", at_files::<PLAIN, TUS, PLAIN>),
    case!(["DIA-38"], "tus URL: plain PUT > tus PATCH > ranged PUT", at_files::<PLAIN, TUS, RANGED>),
    case!(["DIA-39"], "tus URL: plain PUT > tus PATCH > tus PATCH", at_files::<PLAIN, TUS, TUS>),
    case!(["DIA-40"], "tus URL: ranged PUT > plain PUT > plain PUT", at_files::<RANGED, PLAIN, PLAIN>),
    case!(["DIA-41"], "tus URL: ranged PUT > plain PUT > ranged PUT", at_files::<RANGED, PLAIN, RANGED>),
    case!(["DIA-42"], "tus URL: ranged PUT > plain PUT > tus PATCH", at_files::<RANGED, PLAIN, TUS>),
    case!(["DIA-43"], "tus URL: ranged PUT > ranged PUT > plain PUT", at_files::<RANGED, RANGED, PLAIN>),
    case!(["DIA-44"], "tus URL: ranged PUT > ranged PUT > ranged PUT", at_files::<RANGED, RANGED, RANGED>),
    case!(["DIA-45"], "tus URL: ranged PUT > ranged PUT > tus PATCH", at_files::<RANGED, RANGED, TUS>),
    case!(["DIA-46"], "tus URL: ranged PUT > tus PATCH > plain PUT", at_files::<RANGED, TUS, PLAIN>),
    case!(["DIA-47"], "tus URL: ranged PUT > tus PATCH > ranged PUT", at_files::<RANGED, TUS, RANGED>),
    case!(["DIA-48"], "tus URL: ranged PUT > tus PATCH > tus PATCH", at_files::<RANGED, TUS, TUS>),
    case!(["DIA-49"], "tus URL: tus PATCH > plain PUT > plain PUT", at_files::<TUS, PLAIN, PLAIN>),
    case!(["DIA-50"], "tus URL: tus PATCH > plain PUT > ranged PUT", at_files::<TUS, PLAIN, RANGED>),
    case!(["DIA-51"], "tus URL: tus PATCH > plain PUT > tus PATCH", at_files::<TUS, PLAIN, TUS>),
    case!(["DIA-52"], "tus URL: tus PATCH > ranged PUT > plain PUT", at_files::<TUS, RANGED, PLAIN>),
    case!(["DIA-53"], "tus URL: tus PATCH > ranged PUT > ranged PUT", at_files::<TUS, RANGED, RANGED>),
    case!(["DIA-54"], "tus URL: tus PATCH > ranged PUT > tus PATCH", at_files::<TUS, RANGED, TUS>),
    case!(["DIA-55"], "tus URL: tus PATCH > tus PATCH > plain PUT", at_files::<TUS, TUS, PLAIN>),
    case!(["DIA-56"], "tus URL: tus PATCH > tus PATCH > ranged PUT", at_files::<TUS, TUS, RANGED>),
    case!(["DIA-57"], "tus URL: tus PATCH > tus PATCH > tus PATCH", at_files::<TUS, TUS, TUS>),
];
