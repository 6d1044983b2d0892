//! The forms of results for other programs and for browsers. Pure: from records to texts.

pub mod csv;
pub mod hgrm;
pub mod html;
