//! A component of another world: it exports nothing that a host of guests looks for.

#[cfg(target_arch = "wasm32")]
mod bindings {
    #![expect(unsafe_code, reason = "what is generated calls across the border")]

    wit_bindgen::generate!({
        inline: "
            package elsewhere:greeter@1.0.0;
            world greeter {
                export greet: func(name: string) -> string;
            }
        ",
    });

    struct Greeter;

    impl Guest for Greeter {
        fn greet(name: String) -> String {
            format!("hello, {name}")
        }
    }

    export!(Greeter);
}
