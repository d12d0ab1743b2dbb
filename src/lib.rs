//! ringfield
