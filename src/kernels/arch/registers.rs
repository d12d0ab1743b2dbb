//! What the instruction sets' files are written with: intrinsics in blocks that say why they are sound, and vectors that
//! are several registers.

/// An expression of intrinsics that touch registers only.
macro_rules! registers {
    ($e:expr) => {{
        // SAFETY: the processor has the feature, because a value of the proof exists; no memory is touched.
        #[allow(clippy::multiple_unsafe_ops_per_block)]
        // WebAssembly's are safe: a module with an unknown instruction is not loaded at all.
        #[cfg_attr(target_arch = "wasm32", allow(unused_unsafe))]
        unsafe {
            $e
        }
    }};
}
pub(super) use registers;

/// An expression of intrinsics that read or write what is behind references to arrays.
macro_rules! arrays {
    ($e:expr) => {{
        // SAFETY: the processor has the feature, as above; each pointer is from a reference to an array that is as long as
        // what the intrinsic moves, and none of the intrinsics needs an alignment.
        #[allow(clippy::multiple_unsafe_ops_per_block)]
        unsafe {
            $e
        }
    }};
}
pub(super) use arrays;

/// `$e` for each register of a vector: `$a`, in it, is the register of the vector `$a`.
///
/// Written out, for a closure would not be inlined for certain, and intrinsics in it would be calls.
macro_rules! each_register {
    (2; $($a:ident),*; $e:expr) => {
        [{ $(let $a = $a[0];)* $e }, { $(let $a = $a[1];)* $e }]
    };
    (4; $($a:ident),*; $e:expr) => {
        [
            { $(let $a = $a[0];)* $e },
            { $(let $a = $a[1];)* $e },
            { $(let $a = $a[2];)* $e },
            { $(let $a = $a[3];)* $e },
        ]
    };
}
pub(super) use each_register;

/// Methods of `Simd` that do the same with each of a vector's registers. `F`, `I` and `M` are the trait's types outside of
/// the braces, and one register of them inside.
macro_rules! lanewise {
    ($count:tt; $(
        fn $method:ident $(<const $N:ident: u32>)? ($($a:ident: $A:ident),*) -> $R:ident { $e:expr }
    )*) => {$(
        #[inline(always)]
        fn $method $(<const $N: u32>)? (self, $($a: Self::$A),*) -> Self::$R {
            registers!(each_register!($count; $($a),*; $e))
        }
    )*};
}
pub(super) use lanewise;

/// References to the parts of an array, one for each register.
macro_rules! parts {
    (2 of $len:literal, $array:expr) => {{
        let (parts, _) = $array.as_chunks::<$len>();
        [&parts[0], &parts[1]]
    }};
    (4 of $len:literal, $array:expr) => {{
        let (parts, _) = $array.as_chunks::<$len>();
        [&parts[0], &parts[1], &parts[2], &parts[3]]
    }};
}
pub(super) use parts;
