//! What the attribute does, as a function that can be tested.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{
    Error, Expr, ExprAsync, ExprClosure, ExprConst, FnArg, Ident, Item, ItemFn, Pat, Result,
    ReturnType, Signature, Token, Type,
};

/// `with = expression`, or nothing.
struct Arguments {
    with: Option<Expr>,
}

mod keyword {
    syn::custom_keyword!(with);
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Arguments> {
        if input.is_empty() {
            return Ok(Arguments { with: None });
        }
        if !input.peek(keyword::with) {
            return Err(input.error("the only argument is `with = ...`: what to check with"));
        }
        input.parse::<keyword::with>()?;
        input.parse::<Token![=]>()?;
        let with = input.parse()?;
        if !input.is_empty() {
            return Err(input.error("the only argument is `with = ...`: what to check with"));
        }
        Ok(Arguments { with: Some(with) })
    }
}

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let Arguments { with } = syn::parse2(arguments)?;
    let mut function: ItemFn = syn::parse2(item).map_err(|error| {
        Error::new(
            error.span(),
            format!("#[interruptible] is for functions with a body ({error})"),
        )
    })?;
    if let Some(token) = function.sig.constness {
        return Err(Error::new(
            token.span(),
            "a `const fn` cannot be interrupted",
        ));
    }
    let returned = result_type(&function.sig)?;
    let checker = match with {
        Some(with) => with.into_token_stream(),
        None => find_checker(&function.sig)?.into_token_stream(),
    };
    // The compiler points at the function's type when the error does not fit.
    let check = quote_spanned! {returned.resolved_at(Span::mixed_site())=>
        ::interruptible::Checker::checkpoint(&(#checker))?;
    };
    let mut loops = Loops { check, count: 0 };
    loops.visit_block_mut(&mut function.block);
    if loops.count == 0 {
        return Err(Error::new(
            function.sig.ident.span(),
            "#[interruptible] has found no loop in this function to check in; loops in \
             closures, async blocks, inner functions and macros do not count",
        ));
    }
    Ok(function.into_token_stream())
}

/// Where the function's type is, which has to be a `Result` of some kind.
fn result_type(signature: &Signature) -> Result<Span> {
    let found = match &signature.output {
        ReturnType::Default => "nothing".to_owned(),
        ReturnType::Type(_, kind) => {
            if let Type::Path(path) = &**kind {
                let last = path.path.segments.last();
                if last.is_some_and(|last| last.ident.to_string().ends_with("Result")) {
                    return Ok(kind.span());
                }
            }
            format!("`{}`", kind.to_token_stream())
        }
    };
    let span = match &signature.output {
        ReturnType::Default => signature.ident.span(),
        ReturnType::Type(_, kind) => kind.span(),
    };
    Err(Error::new(
        span,
        format!(
            "#[interruptible] needs a function that can say that it was stopped: one that \
             returns `PyResult<_>`, or `Result<_, E>` where `E: From<Stopped>`, not {found}"
        ),
    ))
}

/// The parameter to check with.
fn find_checker(signature: &Signature) -> Result<Ident> {
    let mut found = Vec::new();
    for input in &signature.inputs {
        let FnArg::Typed(parameter) = input else {
            continue;
        };
        if let (true, Pat::Ident(name)) = (is_checker(&parameter.ty), &*parameter.pat) {
            found.push(name.ident.clone());
        }
    }
    match &found[..] {
        [one] => Ok(one.clone()),
        [] => Err(Error::new(
            signature.ident.span(),
            "#[interruptible] has nothing to check with: add a parameter of the type \
             `Python<'_>`, `&Region`, `Worker<'_>` or `Attached<'_, '_>`, or say it by \
             #[interruptible(with = ...)]",
        )),
        [first, second, ..] => Err(Error::new(
            second.span(),
            format!(
                "#[interruptible] could check with `{first}` or with `{second}`: say which by \
                 #[interruptible(with = ...)]; with a region and the GIL, that is \
                 `with = region.attached(py)`"
            ),
        )),
    }
}

fn is_checker(kind: &Type) -> bool {
    match kind {
        Type::Reference(reference) => is_checker(&reference.elem),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| {
            ["Python", "Region", "Worker", "Attached"]
                .iter()
                .any(|name| last.ident == name)
        }),
        _ => false,
    }
}

/// Rewrites loops. All become `loop`, with the check as the first thing in it, and keep
/// their label: so whatever `break` and `continue` there are in the body, also in what
/// macros make of it, mean what they did.
struct Loops {
    check: TokenStream,
    count: usize,
}

impl VisitMut for Loops {
    fn visit_expr_mut(&mut self, expression: &mut Expr) {
        // The inner ones first, those in the condition included.
        visit_mut::visit_expr_mut(self, expression);
        let check = &self.check;
        let here = Span::mixed_site();
        let tokens = match expression {
            Expr::Loop(it) => {
                let (attributes, label, statements) = (&it.attrs, &it.label, &it.body.stmts);
                quote_spanned! {here=>
                    #(#attributes)* #label loop { #check #(#statements)* }
                }
            }
            Expr::While(it) => {
                let (attributes, label) = (&it.attrs, &it.label);
                let (condition, body) = (&it.cond, &it.body);
                quote_spanned! {here=>
                    #(#attributes)* #label loop {
                        #check
                        if #condition #body else { break; }
                    }
                }
            }
            Expr::ForLoop(it) => {
                let (attributes, label) = (&it.attrs, &it.label);
                let (pattern, items, body) = (&it.pat, &it.expr, &it.body);
                // A match, so that what is borrowed in the head lives as long as the loop.
                quote_spanned! {here=>
                    #(#attributes)*
                    match ::core::iter::IntoIterator::into_iter(#items) {
                        mut items => #label loop {
                            #check
                            match ::core::iter::Iterator::next(&mut items) {
                                ::core::option::Option::Some(#pattern) => #body,
                                ::core::option::Option::None => break,
                            }
                        }
                    }
                }
            }
            _ => return,
        };
        self.count += 1;
        *expression = Expr::Verbatim(tokens);
    }

    // A `?` in these would return from them, with an error type that is not known here.
    fn visit_expr_closure_mut(&mut self, _: &mut ExprClosure) {}
    fn visit_expr_async_mut(&mut self, _: &mut ExprAsync) {}
    fn visit_expr_const_mut(&mut self, _: &mut ExprConst) {}
    fn visit_item_mut(&mut self, _: &mut Item) {}
}
