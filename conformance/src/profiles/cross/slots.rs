//! Every way through the dialects at the URL of a slot.

use crate::case::{Case, case};

use super::{PLAIN, RANGED, TUS, at_slot};

pub(super) const CASES: &[Case] = &[
    case!(["DIA-1"], "slot URL: plain PUT > plain PUT > plain PUT", at_slot::<PLAIN, PLAIN, PLAIN>),
    case!(["DIA-2"], "slot URL: plain PUT > plain PUT > ranged PUT", at_slot::<PLAIN, PLAIN, RANGED>),
    case!(["DIA-3"], "slot URL: plain PUT > plain PUT > tus PATCH", at_slot::<PLAIN, PLAIN, TUS>),
    case!(["DIA-4"], "slot URL: plain PUT > ranged PUT > plain PUT", at_slot::<PLAIN, RANGED, PLAIN>),
    case!(["DIA-5"], "slot URL: plain PUT > ranged PUT > ranged PUT", at_slot::<PLAIN, RANGED, RANGED>),
    case!(["DIA-6"], "slot URL: plain PUT > ranged PUT > tus PATCH", at_slot::<PLAIN, RANGED, TUS>),
    case!(["DIA-7"], "slot URL: plain PUT > tus PATCH > plain PUT", at_slot::<PLAIN, TUS, PLAIN>),
    case!(["DIA-8"], "slot URL: plain PUT > tus PATCH > ranged PUT", at_slot::<PLAIN, TUS, RANGED>),
    case!(["DIA-9"], "slot URL: plain PUT > tus PATCH > tus PATCH", at_slot::<PLAIN, TUS, TUS>),
    case!(["DIA-10"], "slot URL: ranged PUT > plain PUT > plain PUT", at_slot::<RANGED, PLAIN, PLAIN>),
    case!(["DIA-11"], "slot URL: ranged PUT > plain PUT > ranged PUT", at_slot::<RANGED, PLAIN, RANGED>),
    case!(["DIA-12"], "slot URL: ranged PUT > plain PUT > tus PATCH", at_slot::<RANGED, PLAIN, TUS>),
    case!(["DIA-13"], "slot URL: ranged PUT > ranged PUT > plain PUT", at_slot::<RANGED, RANGED, PLAIN>),
    case!(["DIA-14"], "slot URL: ranged PUT > ranged PUT > ranged PUT", at_slot::<RANGED, RANGED, RANGED>),
    case!(["DIA-15"], "slot URL: ranged PUT > ranged PUT > tus PATCH", at_slot::<RANGED, RANGED, TUS>),
    case!(["DIA-16"], "slot URL: ranged PUT > tus PATCH > plain PUT", at_slot::<RANGED, TUS, PLAIN>),
    case!(["DIA-17"], "slot URL: ranged PUT > tus PATCH > ranged PUT", at_slot::<RANGED, TUS, RANGED>),
    case!(["DIA-18"], "slot URL: ranged PUT > tus PATCH > tus PATCH", at_slot::<RANGED, TUS, TUS>),
    case!(["DIA-19"], "slot URL: tus PATCH > plain PUT > plain PUT", at_slot::<TUS, PLAIN, PLAIN>),
    case!(["DIA-20"], "slot URL: tus PATCH > plain PUT > ranged PUT", at_slot::<TUS, PLAIN, RANGED>),
    case!(["DIA-21"], "slot URL: tus PATCH > plain PUT > tus PATCH", at_slot::<TUS, PLAIN, TUS>),
    case!(["DIA-22"], "slot URL: tus PATCH > ranged PUT > plain PUT", at_slot::<TUS, RANGED, PLAIN>),
    case!(["DIA-23"], "slot URL: tus PATCH > ranged PUT > ranged PUT", at_slot::<TUS, RANGED, RANGED>),
    case!(["DIA-24"], "slot URL: tus PATCH > ranged PUT > tus PATCH", at_slot::<TUS, RANGED, TUS>),
    case!(["DIA-25"], "slot URL: tus PATCH > tus PATCH > plain PUT", at_slot::<TUS, TUS, PLAIN>),
    case!(["DIA-26"], "slot URL: tus PATCH > tus PATCH > ranged PUT", at_slot::<TUS, TUS, RANGED>),
    case!(["DIA-27"], "slot URL: tus PATCH > tus PATCH > tus PATCH", at_slot::<TUS, TUS, TUS>),
];
