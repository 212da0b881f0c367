//! What wit-bindgen makes of the contract, a world for each role: the roles that a guest exports
//! are joined in its component. Not for use by guests.

#![expect(missing_docs, reason = "generated; the contract documents itself")]

/// `describe`, and the types and imports that all roles share.
pub mod control {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package logboom:guest-sdk;
            world control-role {
                import logboom:guest/host@0.1.0;
                export logboom:guest/control@0.1.0;
            }
        ",
        pub_export_macro: true,
        generate_all,
    });
}

/// `parse`.
pub mod parser {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package logboom:guest-sdk;
            world parser-role { export logboom:guest/parser@0.1.0; }
        ",
        pub_export_macro: true,
        with: { "logboom:guest/types@0.1.0": super::control::logboom::guest::types },
    });
}

/// `route`.
pub mod router {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package logboom:guest-sdk;
            world router-role { export logboom:guest/router@0.1.0; }
        ",
        pub_export_macro: true,
        with: { "logboom:guest/types@0.1.0": super::control::logboom::guest::types },
    });
}

/// `measure`.
pub mod meter {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package logboom:guest-sdk;
            world meter-role { export logboom:guest/meter@0.1.0; }
        ",
        pub_export_macro: true,
        with: { "logboom:guest/types@0.1.0": super::control::logboom::guest::types },
    });
}
