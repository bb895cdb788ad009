# fish completion for wipyctl: `wipyctl __complete` knows what may stand where the cursor is.

function __wipyctl_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
        if test "$line" = ":files"
            __fish_complete_path "$current"
        else if test "$line" = ":commands"
            complete -C "$current"
        else
            echo $line
        end
    end
end

complete -c wipyctl -f -a '(__wipyctl_complete)'
