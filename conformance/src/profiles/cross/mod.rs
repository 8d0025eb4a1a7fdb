pub(super) const TABLES: &[&[crate::case::Case]] = &[];
pub(super) fn matrix(_: &[crate::report::Line]) -> Option<String> { None }
